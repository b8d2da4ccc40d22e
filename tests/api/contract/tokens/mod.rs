//! No RPC takes an access token that the server did not make.

mod forged;
mod forgeries;
mod garbled;
mod keys;
mod mutated;
