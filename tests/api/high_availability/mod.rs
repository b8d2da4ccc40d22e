//! Three PostgreSQL servers with Patroni, as `deploy/patroni` has them: primaries are killed, frozen,
//! cut off and replaced under load.

mod deploy_files;
mod failovers;
mod media_server;
mod patroni;
mod recovery;
