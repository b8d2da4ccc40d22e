//! The command line of `sluice`, with one file per sub-command.

mod admin;
mod api;
mod check;
mod command_line;
mod edge;
mod error;
mod health;
mod migrate;
mod rotate;
mod serve;
mod settings;

pub use command_line::run;
