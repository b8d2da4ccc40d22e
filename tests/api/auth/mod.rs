//! AuthService.

mod access_tokens;
mod api_key_exchange;
mod api_key_pages;
mod api_key_projects;
mod api_key_scopes;
mod api_keys;
mod audit_log;
mod change_password;
mod delete_me;
mod guesses;
mod jwks;
mod me;
mod password_hashes;
mod refresh;
mod refresh_races;
mod session_times;
mod sessions;
mod sign_in;
mod sign_out;
mod sign_up;
mod sign_up_again;
pub mod steps;
