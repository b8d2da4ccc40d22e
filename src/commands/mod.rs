//! The command line of `sluice`, with one file per sub-command.

mod admin;
mod admin_output;
mod api;
mod check;
mod command_line;
mod documents;
mod edge;
mod edge_check;
mod error;
mod health;
mod migrate;
mod operator;
mod progress;
mod rotate;
mod serve;
mod settings;

pub use command_line::run;
