//! UsageService, and what usage is recorded.

pub mod fixture;
mod killed_servers;
mod outages;
mod quotas;
mod recording;
mod records;
mod tenancy;
