//! Who calls, and what protects secrets.
//!
//! A call's way: [`Guard`] (the interceptor) looks up in [`access`] what the RPC
//! needs, checks the access token with [`AccessTokens`], and leaves a [`Caller`]
//! in the request. Access tokens are checked without the database; [`Revocations`]
//! tells which sessions and API keys were ended meanwhile, and [`RateLimits`] who
//! calls too often.

pub mod access;

mod api_key_secret;
mod caller;
mod checked_tokens;
mod claims;
mod guard;
mod guess_subject;
mod id_tokens;
mod jwt_backend;
mod key_files;
mod key_rings;
mod mail_token;
mod passwords;
mod permit;
mod play_urls;
mod rate_limits;
mod recent_states;
mod refresh_token;
mod revocations;
mod sealing;
mod sealing_key;
mod signing_keys;
mod stream_keys;
mod token;
mod token_settings;

pub use access::Access;
pub use api_key_secret::ApiKeySecret;
pub use caller::{Caller, Subject};
pub use guard::Guard;
pub use guess_subject::at_address;
pub use id_tokens::{IdTokenIssuer, IdTokenProvider, IdTokens};
pub use key_files::{KeySettings, Keys, LoadKeysError, parse_jwt_secret, parse_sealing_key};
pub use mail_token::MailToken;
pub use passwords::{HashSlot, PasswordHasher, Verdict};
pub use permit::Permit;
pub use rate_limits::{Rate, RateLimits};
pub use refresh_token::{RefreshSeed, RefreshToken};
pub use revocations::{KEPT as REVOCATIONS_KEPT, Revocations};
pub use sealing::{Place, Sealer};
pub use sealing_key::{SealingKeyId, SealingSecret};
pub use signing_keys::{PublicKey, SigningKeys};
pub use token::{AccessToken, AccessTokens};
pub use token_settings::{LEEWAY_SECONDS, TokenSettings};
