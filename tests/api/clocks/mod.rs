//! Replicas whose clocks differ from the database's.

mod delayed_replica;
mod fixture;
mod random_order;
mod skewed_replicas;
mod sqlite;
mod wrong_database_clock;
