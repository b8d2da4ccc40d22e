//! How messages look, and how they leave.

mod folder;
mod letterhead;
mod post;
mod route;
mod smtp;
mod smtp_url;

pub use letterhead::Letterhead;
pub use post::Post;
pub use route::{MailRoute, MailSettings};
pub use smtp_url::SmtpUrl;
