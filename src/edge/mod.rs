//! The edge: runs beside a media server, answers its hooks and runs relays.
//!
//! An edge is a client of [`crate::proto`] like any other: it knows nothing of the
//! control plane's implementation, and the control plane nothing of the edge's.
//!
//! | module | purpose |
//! |---|---|
//! | `hooks` | the HTTP server for the hooks of the media server |
//! | `publishing` | the state of all publishing connections, also while the control plane is unreachable |
//! | `servers` | clients of the media servers' APIs: list and disconnect publishers |
//! | `relays` | claims relays and sends live streams to their destinations |
//! | `media_meters` | what relays measure of the media of streams, for the reports of publishers |
//! | `monitor` | what the operations port shows: readiness and metrics |
//! | `check` | `sluice edge check`: tests what a start of the edge would need |
//! | `state_file` | state that survives restarts |
//! | `publisher` | publishers, as the other modules see them |
//! | `control_plane`, `credentials`, `error_class` | calls to the control plane, their access tokens, and the meaning of their errors |

mod check;
mod control_plane;
mod credentials;
mod error_class;
mod hooks;
mod media_meters;
mod monitor;
mod publisher;
mod publishing;
mod relays;
mod run;
mod servers;
mod settings;
mod state_file;

pub use check::{CheckResult, EdgeCheck};
pub use control_plane::ControlPlane;
pub use credentials::ApiKey;
pub use run::run;
pub use settings::EdgeSettings;
