//! No secret that goes into the program comes out where it must not.

mod accounts;
mod places;
mod relaying;
mod run;
mod search;
mod streaming;
