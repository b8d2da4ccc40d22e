//! How messages look, and how they leave.

mod folder;
mod route;
mod sender;
mod smtp;
mod smtp_url;
mod templates;

pub use route::{MailRoute, MailSettings};
pub use sender::Post;
pub use smtp_url::SmtpUrl;
pub use templates::Letterhead;
