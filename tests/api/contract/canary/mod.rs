//! No secret that goes into the program comes out where it must not.

mod account_rpcs;
mod leaks;
mod recorder;
mod relay_rpcs;
mod scanner;
mod stream_rpcs;
