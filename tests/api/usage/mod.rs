//! UsageService, and what usage is recorded.

pub mod fixture;
mod outages;
mod recording;
mod records;
mod tenancy;
