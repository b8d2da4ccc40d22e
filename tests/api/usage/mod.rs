//! UsageService, and what usage is recorded.

pub mod fixture;
mod outages;
mod quotas;
mod recording;
mod records;
mod tenancy;
