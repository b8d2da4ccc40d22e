#![allow(clippy::unwrap_used, dead_code, unused_imports)]
mod contract;
mod harness;
mod lifecycle;
mod story;
