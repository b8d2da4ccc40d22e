//! Verification of id tokens of other issuers (OpenID Connect Core).
//!
//! An issuer publishes its keys in a document that its discovery document names. They
//! are fetched when first needed and cached as its cache headers say. Each key has one
//! algorithm, which the token's `alg` must match (RFC 8725 section 3.1). Nothing in a
//! token determines where a key is fetched from.

mod claims;
mod http_client;
mod jws;
mod key_cache;
mod key_set;
mod provider;
mod verifier;

pub use provider::IdTokenProvider;
pub use verifier::{IdTokenVerifier, IdTokens};
