//! The media server's own means.

mod server;

pub(super) use server::MediaServer;
pub use server::ServerTerms;
