//! Accounts: users, what they sign in with, their sessions and API keys.

pub(super) mod api_keys;
mod email_change_rows;
mod email_changes;
mod factor_rows;
mod failed_attempts;
mod identities;
mod known_networks;
mod mail_recipients;
mod mail_tokens;
mod notices;
mod operator_keys;
mod passkeys;
mod revocations;
mod second_factors;
pub(super) mod session_rows;
mod sessions;
mod user_accounts;
mod users;

pub use api_keys::{ApiKeys, ListedKeys, NewSecret, RepeatableSecret};
pub use email_changes::{ConfirmedEmail, EmailChanges};
pub use factor_rows::{SecondFactorProof, VerifiedSecondFactor};
pub use failed_attempts::{CountedAttempt, FailedAttempts};
pub use identities::{Identities, SignedIn};
pub use known_networks::KnownNetworks;
pub use mail_recipients::{IssuedToken, Recipient};
pub use mail_tokens::MailTokens;
pub use notices::Notices;
pub use operator_keys::{NewOperatorKey, OperatorKeys};
pub use passkeys::{BegunRegistration, NewPasskey, Passkeys, StoredPasskey};
pub use revocations::{RevocationCursor, TokenRevocations};
pub use second_factors::{NewSecondFactor, SecondFactors};
pub use sessions::{Sessions, VerifiedCredential};
pub use user_accounts::UserAccounts;
pub use users::{NewUser, Users};
