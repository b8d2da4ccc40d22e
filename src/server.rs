//! Puts the parts together, serves, and drains.

use std::{pin::pin, thread};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, interceptor::InterceptedService};
use tonic_health::server::HealthReporter;

use super::{
    auth::{AccessTokens, Guard, IdTokens, Keys, PasswordHasher, RateLimits, Revocations},
    config::Config,
    database::Database,
    jobs::{EventPruning, Mailer, Purge, Reaper, RelayWatch, Trust},
    layers,
    mail::Post,
    operations::{self, Observed},
    proto::{
        DESCRIPTORS,
        v1::{
            auth_service_server::AuthServiceServer, project_service_server::ProjectServiceServer,
            stream_service_server::StreamServiceServer,
        },
    },
    readiness::{Health, Readiness, SERVICES},
    repositories::{Outbox, Publishing, RelayWork},
    services::{AuthParts, AuthService, Dispatch, ProjectService, StreamParts, StreamService},
    transport::Acceptor,
    watching::{Hub, Listener, Lookout, Notifier},
};

/// The longest request of AuthService, in bytes.
const MAX_AUTH_MESSAGE: usize = 64 * 1024;

/// The longest request of ProjectService, in bytes.
const MAX_PROJECT_MESSAGE: usize = 256 * 1024;

/// The longest request of StreamService, in bytes: all connections of a media server.
const MAX_STREAM_MESSAGE: usize = 2 * 1024 * 1024;

/// Serves on a bound listener until `shutdown` completes, then drains: health
/// checks say NOT_SERVING, after the drain delay no more calls are taken, and
/// those that run have the drain timeout to finish.
///
/// It serves at once, and answers UNAVAILABLE until the database is migrated.
/// Fails if the database can never be used, for example because a migration
/// fails.
pub async fn serve(
    listener: TcpListener,
    database: Database,
    keys: Keys,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let closing = CancellationToken::new();
    let (health, health_service) = tonic_health::server::health_reporter();
    let readiness = Readiness::new(health.clone());
    readiness.report(Health::Starting).await;

    let tokens = AccessTokens::new(keys.signing.clone(), config.tokens());
    let revocations = Revocations::default();
    let trust = Trust::new(database.clone(), keys.clone(), revocations.clone());
    let hub = Hub::new(config.watch_limits());
    let observed = Observed::new(operations::Parts {
        readiness: readiness.clone(),
        database: database.clone(),
        revocations: revocations.clone(),
        hub: hub.clone(),
        data_dir: config.data_dir.clone(),
    });
    let port = operations::Port::open(config.observing.operations_listen.0, observed).await?;
    let limits = RateLimits::new(config.caller_limit(), config.address_limit());
    let guard = Guard::new(tokens.clone(), revocations.clone(), limits);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let hasher = PasswordHasher::start(config.bcrypt_cost, cores, config.password_queue as usize)?;
    let publishing = Publishing::new(database.clone(), config.timeouts());
    let relay_times = config.relay_times();
    let work = RelayWork::new(database.clone(), relay_times);
    let post = Post::open(config.mail()).context("SLUICE_MAIL")?;
    let outbox = post.is_some().then(|| Outbox::new(database.clone()));

    let reaper = Reaper::new(publishing.clone(), revocations.clone(), config.timeouts());
    let relay_watch = RelayWatch::new(work.clone(), revocations.clone(), relay_times);
    let auth = AuthService::new(AuthParts {
        database: database.clone(),
        tokens,
        revocations,
        sealer: keys.sealer.clone(),
        hasher,
        id_tokens: IdTokens::new(config.id_token_providers()),
        times: config.sessions(),
        outbox: outbox.clone(),
    });
    let project = ProjectService::new(
        &database,
        keys.sealer.clone(),
        config.url_policy(),
        config.max_destinations,
    );
    let stream = StreamService::new(StreamParts {
        database: database.clone(),
        publishing: publishing.clone(),
        work,
        sealer: keys.sealer,
        heartbeat_interval: config.heartbeat_interval,
        hub: hub.clone(),
        watch_times: config.watch_times(),
        relay_times,
    });
    let auth = AuthServiceServer::new(auth).max_decoding_message_size(MAX_AUTH_MESSAGE);
    let auth = InterceptedService::new(auth, guard.clone());
    let project = ProjectServiceServer::new(project).max_decoding_message_size(MAX_PROJECT_MESSAGE);
    let project = InterceptedService::new(project, guard.clone());
    let stream = StreamServiceServer::new(stream).max_decoding_message_size(MAX_STREAM_MESSAGE);
    let stream = InterceptedService::new(stream, guard);

    let services = Dispatch::new(
        InterceptedService::new(auth, readiness.clone()),
        InterceptedService::new(project, readiness.clone()),
        InterceptedService::new(stream, readiness.clone()),
        described_routes(config)?.add_service(health_service),
    );
    let acceptor = Acceptor::new(listener, config.terms())?;
    let services = layers::around(services, &config.layers(acceptor.pressure()));
    let serving = acceptor.serve(services, closing.clone());
    let mut serving = Box::pin(serving);

    let mut jobs = JoinSet::new();
    let purge = Purge::new(database.clone(), config.audit_retention).run();
    jobs.spawn(after_migration(
        readiness.clone(),
        reaper.run(config.reap_interval),
    ));
    jobs.spawn(after_migration(readiness.clone(), relay_watch.run()));
    jobs.spawn(after_migration(readiness.clone(), purge));
    let pruning = EventPruning::new(database.clone(), config.event_retention).run();
    jobs.spawn(after_migration(readiness.clone(), pruning));
    let lookout = Lookout::new(hub.clone(), &database).run(config.watch_poll_interval);
    jobs.spawn(after_migration(readiness.clone(), lookout));
    if let Some(notices) = database.notices().filter(|_| config.watch_hints) {
        let notifier = Notifier::new(notices.clone(), &database).run();
        jobs.spawn(after_migration(readiness.clone(), notifier));
        let listener = Listener::new(notices, &database, hub).run();
        jobs.spawn(after_migration(readiness.clone(), listener));
    }
    if let (Some(post), Some(outbox)) = (post, outbox) {
        let mailer = Mailer::new(database.clone(), outbox, post).run();
        jobs.spawn(after_migration(readiness.clone(), mailer));
    }

    // Calls are checked against what it reads, also while the server drains.
    let mut watching = pin!(readiness.watch(&database, trust));
    tokio::select! {
        () = &mut serving => return Ok(()),
        error = &mut watching => return Err(error.into()),
        Some(ended) = jobs.join_next() => anyhow::bail!("a job ended: {ended:?}"),
        () = shutdown => {}
    }
    tracing::info!("draining");
    readiness.report(Health::Draining).await;
    tokio::select! {
        () = &mut serving => return Ok(()),
        error = &mut watching => return Err(error.into()),
        () = sleep(config.drain_delay) => {}
    }

    let deadline = Instant::now() + config.drain_timeout;
    closing.cancel();
    end_health_watches(health).await;
    tokio::select! {
        () = &mut serving => {}
        error = &mut watching => return Err(error.into()),
        () = sleep_until(deadline) => {
            tracing::warn!("calls did not finish in time, closing them");
        }
    }
    // Cuts what is left.
    drop(serving);
    jobs.shutdown().await;
    if timeout_at(deadline, database.close()).await.is_err() {
        tracing::warn!("the database did not close in time");
    }
    port.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn after_migration(readiness: Readiness, job: impl Future<Output = ()>) {
    readiness.migrated().await;
    job.await;
}

/// Open watches of the health service would keep the server from draining.
async fn end_health_watches(mut health: HealthReporter) {
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}

/// What describes the API to tools, if the settings say so.
fn described_routes(config: &Config) -> anyhow::Result<Routes> {
    if !config.reflects() {
        return Ok(Routes::default());
    }
    // For grpcurl 1.8 and other clients of before 2023.
    let old = described().build_v1alpha()?;
    Ok(Routes::new(described().build_v1()?).add_service(old))
}

fn described() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can show what errors carry.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
