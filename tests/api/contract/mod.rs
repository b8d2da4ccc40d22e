//! The contract as a whole.
