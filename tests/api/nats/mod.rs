//! Change notifications between replicas through NATS.

mod claims;
mod fixture;
mod outages;
mod settings;
mod strangers;
mod watches;
