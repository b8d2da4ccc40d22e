//! AuthService.

mod me;
mod refresh;
mod session_times;
mod sign_in;
mod sign_out;
mod sign_up;
mod sign_up_again;
mod steps;
