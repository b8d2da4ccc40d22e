//! `sluice watch`: a project as it changes.

mod display;
mod feed;
mod lines;
mod run;
mod screen;
mod view;

pub use run::Watch;
pub(super) use run::run;
