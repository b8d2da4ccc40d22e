//! E-mail messages and their transport.

mod sender;
mod smtp_url;
mod templates;

pub use sender::{MailSender, MailSettings, MailTransport};
pub use smtp_url::SmtpUrl;
pub use templates::MailTemplates;
