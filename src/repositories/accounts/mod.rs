//! Accounts: users, what they sign in with, their sessions and API keys.

mod api_keys;
mod failed_attempts;
mod identities;
mod mail_tokens;
mod revocations;
mod rows;
mod session_proofs;
mod sessions;
mod users;

pub use api_keys::ApiKeys;
pub use failed_attempts::{Guess, Guesses};
pub use identities::{Identities, SignedIn};
pub use mail_tokens::MailTokens;
pub use revocations::EndedTokens;
pub use session_proofs::Proof;
pub use sessions::Sessions;
pub use users::{NewUser, Users};
