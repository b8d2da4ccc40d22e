//! Deployment and operation: copying, backup, container image, manifests and restarts.

mod admin_copy;
mod backup;
mod compose;
mod container_image;
pub mod deploy_files;
mod health_command;
mod image_build;
mod load_balancers;
mod manifests;
mod pgbouncer;
mod pgbouncer_outages;
mod populated_database;
mod retrying_client;
mod rolling_restart;
mod systemd_unit;
