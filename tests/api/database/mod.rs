//! What becomes of calls when the database does not do as it should.

mod calls;
mod faults;
mod gone_callers;
mod lost_answers;
mod races;
mod shared_commits;
