//! The sub-commands of `sluice`: one file each.

mod admin;
mod copy;
mod edge;
mod failure;
mod health;
mod line;
mod migrate;
mod rotate;
mod run_child;
mod serve;

pub use line::run;
