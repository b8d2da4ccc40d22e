//! No RPC accepts an access token that the server did not issue.

mod corrupted_tokens;
mod forged_tokens;
mod forgery;
mod fuzzing;
mod signing_keys;
