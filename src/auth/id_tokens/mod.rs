//! Id tokens of other issuers (OpenID Connect Core): who they are about, once
//! everything in them has been checked.
//!
//! An issuer publishes its keys behind a discovery document. They are fetched
//! when they are first needed, and kept as long as the issuer's cache headers
//! say. Each key pins its algorithm; the token's own word on it is only compared
//! (RFC 8725 section 3.1), and nothing in a token says where to fetch a key from.

mod claims;
mod discovery;
mod issuer;
mod jws;
mod key_cache;
mod key_set;
mod provider;
mod web;

pub use issuer::{IdTokenIssuer, IdTokens};
pub use provider::IdTokenProvider;
