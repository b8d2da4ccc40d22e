//! What operators do with the program: moving, saving, packing and restarting it.

mod balancers;
mod copying;
mod files;
mod filled;
mod health;
mod image;
mod manifests;
mod packing;
mod patient;
mod rolling;
mod saving;
mod unit;
