//! AuthService.

mod access_tokens;
mod api_key_exchange;
mod api_key_pages;
mod api_key_projects;
mod api_key_scopes;
mod api_keys;
mod jwks;
mod key_rotation;
mod me;
mod refresh;
mod session_times;
mod sign_in;
mod sign_out;
mod sign_up;
mod sign_up_again;
mod steps;
