//! UsageService, and what usage is recorded.

mod fixture;
mod recording;
mod records;
mod tenancy;
