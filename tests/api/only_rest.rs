#![allow(clippy::unwrap_used, dead_code, unused_imports)]
mod harness;
mod lifecycle;
mod contract;
mod story;
