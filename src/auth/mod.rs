//! Who calls, and what protects secrets.
//!
//! A call's way: [`Guard`] (the interceptor) looks up in [`access`] what the RPC
//! needs, checks the access token with [`AccessTokens`], and leaves a [`Caller`]
//! in the request. Access tokens are checked without the database; [`Revocations`]
//! tells which sessions and API keys were ended meanwhile.

pub mod access;

mod api_key_secret;
mod caller;
mod claims;
mod guard;
mod jwt_backend;
mod key_files;
mod mail_token;
mod passwords;
mod random;
mod refresh_token;
mod revocations;
mod sealing;
mod signing_keys;
mod stream_keys;
mod token;

pub use access::Access;
pub use api_key_secret::ApiKeySecret;
pub use caller::{Caller, Subject};
pub use guard::Guard;
pub use key_files::{KeySettings, Keys, LoadKeysError, parse_jwt_secret, parse_sealing_key};
pub use mail_token::MailToken;
pub use passwords::{HashSlot, PasswordHasher, Verdict};
pub use random::{random_fraction, sha256};
pub use refresh_token::{RefreshSeed, RefreshToken};
pub use revocations::Revocations;
pub use sealing::{Place, Sealer};
pub use signing_keys::{PublicKey, SigningKeys};
pub use token::{AccessToken, AccessTokens, TokenSettings};
