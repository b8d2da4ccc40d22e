//! The media server's side: hooks come in, relays go out.
//!
//! An edge runs beside one media server and is a client of [`crate::proto`] like any
//! other. It knows nothing of the control plane's inside, nor that of it.
//!
//! | room | what it is for |
//! |---|---|
//! | `hooks` | what the media server asks and tells over HTTP, and the answers in its format |
//! | `publishing` | which connections there are, and which may go on, also while the control plane is away |
//! | `servers` | the media server's own means: who publishes by its word, and how to disconnect |
//! | `relays` | claimed relays, one supervised ffmpeg each, and what carries their media |
//! | `control` | calls to the control plane, with a token that renews itself |

mod connection;
mod control;
mod credentials;
mod hooks;
mod publishing;
mod relays;
mod running;
mod servers;

pub use control::{ControlPlane, Terms};
pub use credentials::ApiKey;
pub use relays::RelayTerms;
pub use running::{Edge, run};
pub use servers::ServerTerms;
