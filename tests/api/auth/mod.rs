//! AuthService.

mod sign_in;
mod sign_up;
mod sign_up_again;
mod steps;
