//! Authentication and authorization of callers, and the protection of secrets.
//!
//! [`AuthInterceptor`] looks up in [`access`] what the RPC requires, verifies the access
//! token with [`AccessTokens`], and adds a [`CallAuthorization`] to the request. Access
//! tokens are verified without the database. [`Revocations`] has the revoked sessions and
//! API keys, and [`RateLimits`] the limits of calls.

pub mod access;

mod access_token;
mod attempt_delays;
mod breached_passwords;
mod caller;
mod claims;
mod database_keys;
mod hashed_secrets;
mod id_tokens;
mod interceptor;
mod jwt_backend;
mod key_ring;
mod keys;
mod password_hasher;
mod rate_limit_store;
mod rate_limits;
mod refresh_token;
mod revocations;
mod sealer;
mod sealing_key;
mod signing_keys;
mod stream_key;
mod token_cache;
mod totp;
mod verifying_key;
mod webauthn;
mod webhook_secret;

pub use access::RequiredAccess;
pub use access_token::{AccessToken, AccessTokens};
pub use attempt_delays::{AttemptSubject, account_at_address, retry_delays};
pub use breached_passwords::BreachedPasswords;
pub use caller::{Caller, Subject};
pub use claims::{LEEWAY_SECONDS, TokenSettings};
pub use hashed_secrets::{ApiKeySecret, MailToken};
pub use id_tokens::{IdTokenProvider, IdTokenVerifier, IdTokens};
pub use interceptor::{AuthInterceptor, CallAuthorization};
pub use keys::{
    KeySettings, Keys, LoadKeysError, MissingKeys, is_guessable, parse_jwt_secret,
    parse_sealing_key,
};
pub use password_hasher::{HashSlot, PasswordHasher, PasswordVerification};
pub use rate_limits::{Rate, RateLimits};
pub use refresh_token::{RefreshSeed, RefreshToken, RefreshTokenAge};
pub use revocations::{RETENTION as REVOCATION_RETENTION, Revocations};
pub use sealer::Sealer;
pub use sealing_key::{AssociatedData, SealingKeyId, SealingSecret};
pub use signing_keys::{PublicKey, SigningKeys};
pub use totp::{RecoveryCode, TotpSecret};
pub use webauthn::{
    AssertionResponse, Challenge, ChallengeHash, NewRegistration, PasskeyOrigin,
    RegisteredCredential, RegistrationResponse, RelyingParty, RelyingPartyId, StoredCredential,
    VerifiedAssertion,
};
pub use webhook_secret::WebhookSecret;
