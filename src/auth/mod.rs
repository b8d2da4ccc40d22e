//! Authentication and authorization of callers, and the protection of secrets.
//!
//! [`AuthInterceptor`] looks up in [`access`] what the RPC requires, verifies the access
//! token with [`AccessTokens`], and adds a [`CallAuthorization`] to the request. Access
//! tokens are verified without the database. [`Revocations`] has the revoked sessions and
//! API keys, and [`RateLimits`] the limits of calls.

pub mod access;

mod access_token;
mod api_key_secret;
mod associated_data;
mod attempt_subject;
mod call_authorization;
mod caller;
mod claims;
mod database_keys;
mod id_tokens;
mod interceptor;
mod jwt_backend;
mod keys;
mod mail_token;
mod passwords;
mod play_url;
mod rate_limit_store;
mod rate_limits;
mod refresh_token;
mod revocations;
mod sealer;
mod sealing_key;
mod signing_keys;
mod stream_key;
mod token_cache;

pub use access::RequiredAccess;
pub use access_token::{AccessToken, AccessTokens};
pub use api_key_secret::ApiKeySecret;
pub use associated_data::AssociatedData;
pub use attempt_subject::account_at_address;
pub use call_authorization::CallAuthorization;
pub use caller::{Caller, Subject};
pub use claims::{LEEWAY_SECONDS, TokenSettings};
pub use id_tokens::{IdTokenProvider, IdTokenVerifier, IdTokens};
pub use interceptor::AuthInterceptor;
pub use keys::{KeySettings, Keys, LoadKeysError, parse_jwt_secret, parse_sealing_key};
pub use mail_token::MailToken;
pub use passwords::{HashSlot, PasswordHasher, PasswordVerification};
pub use rate_limits::{Rate, RateLimits};
pub use refresh_token::{RefreshSeed, RefreshToken};
pub use revocations::{RETENTION as REVOCATION_RETENTION, Revocations};
pub use sealer::Sealer;
pub use sealing_key::{SealingKeyId, SealingSecret};
pub use signing_keys::{PublicKey, SigningKeys};
