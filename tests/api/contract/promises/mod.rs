//! Every promise of the pages for operators has tests.

mod operations;
mod page;
mod security;
