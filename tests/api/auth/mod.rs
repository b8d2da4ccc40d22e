//! AuthService.

mod sign_up;
