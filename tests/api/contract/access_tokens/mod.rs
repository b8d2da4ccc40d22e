//! No RPC takes an access token that the server did not make.

mod corrupted_tokens;
mod forged_tokens;
mod forgery;
mod fuzzing;
mod signing_keys;
