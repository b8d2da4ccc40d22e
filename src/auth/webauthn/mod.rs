//! Passkeys: the ceremonies of a relying party of W3C WebAuthn Level 3.
//!
//! What is verified is small, because the attestation of authenticators is not evaluated: client
//! data, authenticator data and one signature, over the keys that `ring` verifies. The libraries for
//! relying parties bring OpenSSL, or four further signature crates with an RSA whose timing leaks
//! (RUSTSEC-2023-0071).
//!
//! Each credential is discoverable and has verified its user: so it signs in alone. Nothing here
//! knows which challenges were issued: the database takes each one once, in the transaction of what
//! it permits.

mod authenticator_data;
mod challenge;
mod client_data;
mod cose_key;
mod origin;
mod relying_party;
mod responses;

pub use challenge::{Challenge, ChallengeHash};
pub use origin::{PasskeyOrigin, RelyingPartyId};
pub use relying_party::{
    NewRegistration, RegisteredCredential, RelyingParty, StoredCredential, VerifiedAssertion,
};
pub use responses::{AssertionResponse, RegistrationResponse};
