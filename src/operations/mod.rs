//! The operations port: what the server says of itself over HTTP to who runs it.
//!
//! It is small and bounded, it answers before the database does and while calls
//! drain, and it ends last. It asks nobody who they are: it listens on this machine
//! unless the settings say otherwise.

mod answers;
mod observed;
mod port;

pub use observed::{Observed, Parts};
pub use port::Port;
