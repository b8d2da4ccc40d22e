//! The stories of the README.
