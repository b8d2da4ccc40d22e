//! Puts the parts together, serves, and drains.

use std::{any::Any, thread, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    service::interceptor::InterceptedService,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{
    v1::{ServerReflection, ServerReflectionServer},
    v1alpha,
};
use tower::layer::util::{Identity, Stack};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    auth::{AccessTokens, Guard, IdTokens, Keys, PasswordHasher, RateLimits, Revocations},
    config::Config,
    jobs::{EventPruning, Mailer, Purge, Reaper, RelayWatch, Trust},
    layers::{CallLogLayer, PeerAddressLayer, answer_panic},
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
    repositories::{Database, Outbox, Publishing, RelayWork},
    services::{AuthParts, AuthService, ProjectService, StreamParts, StreamService},
    watching::{Hub, Listener, Lookout, Notifier},
};

/// The longest request of AuthService, in bytes.
const MAX_AUTH_MESSAGE: usize = 64 * 1024;

/// The longest request of ProjectService, in bytes.
const MAX_PROJECT_MESSAGE: usize = 256 * 1024;

/// The longest request of StreamService, in bytes: all connections of a media server.
const MAX_STREAM_MESSAGE: usize = 2 * 1024 * 1024;

/// What a panic becomes.
type PanicAnswer = fn(Box<dyn Any + Send>) -> http::Response<Body>;

/// The layers around all services.
type Layers = Stack<CatchPanicLayer<PanicAnswer>, Stack<CallLogLayer, Identity>>;

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
        closing: closing.clone(),
    });
    let auth = AuthServiceServer::new(auth).max_decoding_message_size(MAX_AUTH_MESSAGE);
    let auth = InterceptedService::new(auth, guard.clone());
    let project = ProjectServiceServer::new(project).max_decoding_message_size(MAX_PROJECT_MESSAGE);
    let project = InterceptedService::new(project, guard.clone());
    let stream = StreamServiceServer::new(stream).max_decoding_message_size(MAX_STREAM_MESSAGE);
    let stream = InterceptedService::new(stream, guard);

    let serving = builder(config.observing.slow_call)
        .layer(PeerAddressLayer::new(&config.trusted_proxies))
        .add_service(health_service)
        .add_optional_service(reflection_v1(config)?)
        .add_optional_service(reflection_v1alpha(config)?)
        .add_service(InterceptedService::new(auth, readiness.clone()))
        .add_service(InterceptedService::new(project, readiness.clone()))
        .add_service(InterceptedService::new(stream, readiness.clone()))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            closing.clone().cancelled_owned(),
        );
    let mut serving = std::pin::pin!(serving);

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

    tokio::select! {
        served = &mut serving => return Ok(served?),
        error = readiness.watch(&database, trust) => return Err(error.into()),
        Some(ended) = jobs.join_next() => anyhow::bail!("a job ended: {ended:?}"),
        () = shutdown => {
            tracing::info!("draining");
            readiness.report(Health::Draining).await;
            // Goes on serving meanwhile.
            if let Ok(served) = timeout(config.drain_delay, &mut serving).await {
                return Ok(served?);
            }
        }
    }

    let deadline = Instant::now() + config.drain_timeout;
    closing.cancel();
    end_health_watches(health).await;
    match timeout_at(deadline, &mut serving).await {
        Ok(drained) => drained?,
        Err(_) => tracing::warn!("calls did not finish in time, closing them"),
    }
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

/// A server without services, with what every call goes through: all limits of
/// HTTP/2 (tonic switches some of hyper's off) and the layers, outermost first. Calls
/// that take longer than `slow_call` are logged.
pub fn builder(slow_call: Duration) -> Server<Layers> {
    Server::builder()
        .max_concurrent_streams(100)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(1024))
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .layer(CallLogLayer::new(slow_call))
        .layer(CatchPanicLayer::custom(answer_panic as PanicAnswer))
}

/// Open watches of the health service would keep the server from draining.
async fn end_health_watches(mut health: HealthReporter) {
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}

fn reflection_v1(
    config: &Config,
) -> anyhow::Result<Option<ServerReflectionServer<impl ServerReflection>>> {
    config
        .reflects()
        .then(|| Ok(described().build_v1()?))
        .transpose()
}

/// For grpcurl 1.8 and other clients of before 2023.
fn reflection_v1alpha(
    config: &Config,
) -> anyhow::Result<Option<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>>> {
    config
        .reflects()
        .then(|| Ok(described().build_v1alpha()?))
        .transpose()
}

fn described() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can show what errors carry.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
