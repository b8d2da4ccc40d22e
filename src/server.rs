//! Puts the parts together, serves, and drains.

use std::{
    pin::{Pin, pin},
    thread,
};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::service::{Interceptor, Routes};
use tonic_health::server::HealthReporter;

use crate::{
    auth::{
        AccessTokens, AuthInterceptor, BreachedPasswords, IdTokens, Keys, PasswordHasher,
        Revocations,
    },
    check_dispatch::CheckDispatch,
    claim_dispatch::ClaimDispatch,
    config::Config,
    database::{Database, Pooler},
    jobs::{self, CredentialRefresh, Mailer, WebhookDispatcher},
    layers::{self, FutureWrapper, Unwrapped, WrapCalls},
    mail::MailSender,
    nats::NatsNotifications,
    operations::{MetricsCollector, OperationsServer},
    proto::{
        DESCRIPTORS,
        v1::{
            auth_service_server::AuthServiceServer, operator_service_server::OperatorServiceServer,
            organization_service_server::OrganizationServiceServer,
            project_service_server::ProjectServiceServer,
            stream_service_server::StreamServiceServer, usage_service_server::UsageServiceServer,
            webhook_service_server::WebhookServiceServer,
        },
    },
    readiness::{Health, Readiness, SERVICES},
    repositories::{Notices, Outbox, Publishing, RelayLeases, WebhookQueue},
    services::{
        AuthDependencies, AuthService, MessageIntervals, OperatorService, OrganizationDependencies,
        OrganizationService, ProjectService, StreamService, UsageService, WebhookDependencies,
        WebhookService, event_writer,
    },
    transport::{BoundSocket, HttpService, Listener},
    watching::{
        EventPoller, MembershipPoller, ProjectDiscovery, RefusalPoller, ReplicaListener,
        ReplicaNotifier, StatsPoller, WatchHub,
    },
    webhooks::WebhookSender,
};

/// The components that services and jobs share.
struct Components {
    readiness: Readiness,
    database: Database,
    keys: Keys,
    revocations: Revocations,
    hub: WatchHub,
    publishing: Publishing,
    relay_leases: RelayLeases,
    check_dispatch: CheckDispatch,
    claim_dispatch: ClaimDispatch,
    webhook_sender: WebhookSender,
    /// `None` if mail is off.
    outbox: Option<Outbox>,
}

/// Serves on bound sockets until `shutdown` completes, then drains: health checks
/// report NOT_SERVING, after the drain delay new calls are refused, and running calls get
/// the drain timeout to finish.
///
/// It serves at once, and answers UNAVAILABLE until the database is migrated. Fails if
/// the database can never be used, for example because a migration fails.
pub async fn serve(
    sockets: Vec<BoundSocket>,
    database: Database,
    keys: Keys,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    serve_wrapped(sockets, database, keys, config, shutdown, Unwrapped).await
}

/// The same, with a wrapper around the futures of calls and of periodic work.
pub async fn serve_wrapped(
    sockets: Vec<BoundSocket>,
    database: Database,
    keys: Keys,
    config: &Config,
    shutdown: impl Future<Output = ()>,
    wrapper: impl FutureWrapper,
) -> anyhow::Result<()> {
    let closing = CancellationToken::new();
    let (health, health_service) = tonic_health::server::health_reporter();
    let readiness = Readiness::new(health.clone());
    readiness.report(Health::Starting).await;

    let revocations = Revocations::default();
    let credentials = CredentialRefresh::new(database.clone(), keys.clone(), revocations.clone());
    let hub = WatchHub::new(config.watch_limits());
    let metrics = MetricsCollector::new(
        readiness.clone(),
        database.clone(),
        revocations.clone(),
        hub.clone(),
        config.data_dir.clone(),
    );
    let address = config.observability.operations_listen.0;
    let operations = OperationsServer::start(address, "SLUICE_OPERATIONS_LISTEN", metrics).await?;
    let mail_sender = MailSender::open(config.mail()).context("SLUICE_MAIL")?;
    if let Some(nats) = config.nats() {
        nats.check()?;
    }
    let relay_leases = RelayLeases::new(database.clone(), config.relay_timeouts());
    let components = Components {
        publishing: Publishing::new(database.clone(), config.stream_timeouts()),
        claim_dispatch: ClaimDispatch::new(database.clone(), relay_leases.clone()),
        relay_leases,
        check_dispatch: CheckDispatch::new(database.clone()),
        webhook_sender: WebhookSender::new(
            config.webhooks.url_policy(),
            config.webhooks.webhook_timeout,
        ),
        outbox: mail_sender.is_some().then(|| Outbox::new(database.clone())),
        readiness,
        database,
        keys,
        revocations,
        hub,
    };

    let listener = Listener::new(sockets, config.listener())?;
    let others = reflection_routes(config)?.add_service(health_service);
    let calls = WrapCalls {
        inner: services(config, &components, others)?,
        wrapper: wrapper.clone(),
    };
    let mut serving = Box::pin(listener.serve(calls, closing.clone()));
    let mut jobs = jobs(config, &components, mail_sender, &wrapper);
    let webhooks = send_webhooks(config, &components, &closing);
    let mut webhooks = AbortOnDropHandle::new(tokio::spawn(wrapper.wrap(webhooks)));

    // It refreshes the credentials that calls are checked against, also during the drain.
    let watching = components
        .readiness
        .watch(&components.database, credentials);
    let mut watching = pin!(wrapper.wrap(watching));
    tokio::select! {
        () = &mut serving => return Ok(()),
        error = &mut watching => return Err(error.into()),
        Some(ended) = jobs.join_next() => anyhow::bail!("a job ended: {ended:?}"),
        ended = &mut webhooks => anyhow::bail!("a job ended: {ended:?}"),
        () = shutdown => {}
    }
    let deadline = tokio::select! {
        error = &mut watching => return Err(error.into()),
        deadline = drain(config, &components.readiness, health, &closing, serving.as_mut()) => {
            deadline
        }
    };
    // Cuts the calls that still run.
    drop(serving);
    closing.cancel();
    if timeout_at(deadline, webhooks).await.is_err() {
        tracing::warn!("webhooks did not stop in time");
    }
    jobs.shutdown().await;
    let closed = timeout_at(deadline, components.database.close()).await;
    if closed.is_err() {
        tracing::warn!("the database did not close in time");
    }
    operations.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The services, and others as routes, behind the layers.
fn services(
    config: &Config,
    components: &Components,
    others: Routes,
) -> anyhow::Result<impl HttpService + use<>> {
    let Components { database, keys, .. } = components;
    let tokens = AccessTokens::new(keys.signing.clone(), config.tokens());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let hasher = PasswordHasher::start(config.bcrypt_cost, cores, config.password_queue as usize)?;
    let hasher = match &config.breached_passwords {
        Some(file) => {
            let breached = BreachedPasswords::open(file);
            hasher.refusing(breached.context("SLUICE_BREACHED_PASSWORDS")?)
        }
        None => hasher,
    };
    let auth = AuthService::new(AuthDependencies {
        database: database.clone(),
        tokens: tokens.clone(),
        revocations: components.revocations.clone(),
        sealer: keys.sealer.clone(),
        hasher,
        id_tokens: IdTokens::new(config.id_token_providers()),
        relying_party: config.relying_party(),
        session_timeouts: config.session_timeouts(),
        recent_authentication: config.recent_authentication,
        outbox: components.outbox.clone(),
    });
    let project = ProjectService::new(
        database.clone(),
        components.check_dispatch.clone(),
        keys.sealer.clone(),
        config.url_policy(),
        config.max_destinations,
        config.recent_authentication,
    );
    let stream = StreamService::new(
        components.publishing.clone(),
        components.relay_leases.clone(),
        components.check_dispatch.clone(),
        components.claim_dispatch.clone(),
        components.hub.clone(),
        keys.sealer.clone(),
        MessageIntervals {
            heartbeat: config.heartbeat_interval,
            watch: config.watch_heartbeat,
        },
    );

    let operator = OperatorService::new(
        database.clone(),
        components.revocations.clone(),
        keys.sealer.clone(),
    );

    let webhook = WebhookService::new(WebhookDependencies {
        database: database.clone(),
        sealer: keys.sealer.clone(),
        sender: components.webhook_sender.clone(),
        url_policy: config.webhooks.url_policy(),
        max_webhooks: config.webhooks.max_webhooks,
        send_timeout: config.call_timeout.mul_f64(0.8),
        recent_authentication: config.recent_authentication,
    });

    let usage = UsageService::new(database.clone(), keys.sealer.clone());
    let organization = OrganizationService::new(OrganizationDependencies {
        database: database.clone(),
        revocations: components.revocations.clone(),
        sealer: keys.sealer.clone(),
        limits: config.organizations.limits(),
        outbox: components.outbox.clone(),
        recent_authentication: config.recent_authentication,
    });

    let limits = config.rate_limits();
    let mut authorize = AuthInterceptor::new(tokens, components.revocations.clone(), limits);
    let mut readiness = components.readiness.clone();
    let interceptor = move |request| authorize.call(readiness.call(request)?);
    let routes = others
        .add_service(AuthServiceServer::new(auth))
        .add_service(ProjectServiceServer::new(project))
        .add_service(StreamServiceServer::new(stream))
        .add_service(OperatorServiceServer::new(operator))
        .add_service(WebhookServiceServer::new(webhook))
        .add_service(UsageServiceServer::new(usage))
        .add_service(OrganizationServiceServer::new(organization))
        .prepare();
    Ok(layers::stack(routes, interceptor, &config.layers()))
}

/// Starts the periodic work, each job once the database is migrated.
fn jobs(
    config: &Config,
    components: &Components,
    mail_sender: Option<MailSender>,
    wrapper: &impl FutureWrapper,
) -> JoinSet<()> {
    let Components {
        database,
        revocations,
        hub,
        ..
    } = components;
    let mut jobs: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
        Box::pin(jobs::expire_streams(
            components.publishing.clone(),
            revocations.clone(),
            config.reap_interval,
        )),
        Box::pin(jobs::expire_relays(
            components.relay_leases.clone(),
            revocations.clone(),
        )),
        Box::pin(jobs::monitor_media(
            database.clone(),
            config.relay_wait_timeout,
        )),
        Box::pin(jobs::record_usage(database.clone(), config.usage_interval)),
        Box::pin(jobs::end_suspended_streams(components.publishing.clone())),
        Box::pin(jobs::delete_orphaned_projects(database.clone())),
        Box::pin(jobs::purge_deleted(database.clone())),
        Box::pin(jobs::purge(database.clone(), config.retention())),
        Box::pin(jobs::prune_events(database.clone(), config.event_retention)),
        Box::pin(EventPoller::new(hub.clone(), database).run(config.watch_poll_interval)),
        Box::pin(RefusalPoller::new(hub.clone(), database).run(config.watch_poll_interval)),
        Box::pin(MembershipPoller::new(hub.clone(), database).run()),
        Box::pin(ProjectDiscovery::new(hub.clone(), database).run(config.watch_poll_interval)),
        Box::pin(components.check_dispatch.clone().run()),
        Box::pin(components.claim_dispatch.clone().run()),
        Box::pin({
            let database = database.clone();
            async move { database.compete().await }
        }),
        Box::pin(StatsPoller::new(hub.clone(), database).run()),
    ];
    if config.watch_hints && config.db_pooler == Pooler::Transaction {
        tracing::info!(
            "replicas find each other's changes by polling: LISTEN does not work through a pooler \
             in transaction mode"
        );
    }
    if let Some(channel) = database.notify_channel().filter(|_| config.watch_hints) {
        let notifier = ReplicaNotifier::new(channel.clone(), database);
        jobs.push(Box::pin(notifier.run()));
        let listener = ReplicaListener::new(channel, database, hub.clone());
        jobs.push(Box::pin(listener.run()));
    }
    if let Some(settings) = config.nats() {
        let notifications = NatsNotifications::new(
            database,
            hub.clone(),
            components.claim_dispatch.clone(),
            components.relay_leases.clone(),
        );
        jobs.push(Box::pin(notifications.run(settings)));
    }
    if let (Some(sender), Some(outbox)) = (mail_sender, &components.outbox) {
        let mailer = Mailer::new(database.clone(), outbox.clone(), sender);
        jobs.push(Box::pin(mailer.run()));
    }

    let migrated = jobs.into_iter().map(|job| {
        let readiness = components.readiness.clone();
        wrapper.wrap(async move {
            readiness.migrated().await;
            job.await;
        })
    });
    migrated.collect()
}

/// Sends events to webhooks once the database is migrated, until `closing` is cancelled.
fn send_webhooks(
    config: &Config,
    components: &Components,
    closing: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let database = &components.database;
    let notices = Notices::new(components.outbox.is_some());
    let dispatcher = WebhookDispatcher::new(
        database,
        WebhookQueue::new(database.clone()).with_notices(notices),
        components.keys.sealer.clone(),
        components.webhook_sender.clone(),
        event_writer(),
        config.webhooks.dispatch(config.watch_poll_interval),
        closing.clone(),
    );
    let (readiness, closing) = (components.readiness.clone(), closing.clone());
    async move {
        if closing
            .run_until_cancelled(readiness.migrated())
            .await
            .is_some()
        {
            dispatcher.run().await;
        }
    }
}

/// Reports NOT_SERVING, refuses new calls after the drain delay, and waits for the running
/// ones. Returns when the drain timeout ends.
async fn drain(
    config: &Config,
    readiness: &Readiness,
    health: HealthReporter,
    closing: &CancellationToken,
    mut serving: Pin<&mut impl Future<Output = ()>>,
) -> Instant {
    tracing::info!("draining");
    readiness.report(Health::Draining).await;
    tokio::select! {
        () = &mut serving => return Instant::now() + config.drain_timeout,
        () = sleep(config.drain_delay) => {}
    }

    let deadline = Instant::now() + config.drain_timeout;
    closing.cancel();
    end_health_watches(health).await;
    tokio::select! {
        () = &mut serving => {}
        () = sleep_until(deadline) => {
            tracing::warn!("calls did not finish in time, closing them");
        }
    }
    deadline
}

/// Ends open watches of the health service, which would delay the drain.
async fn end_health_watches(mut health: HealthReporter) {
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}

/// The reflection services, if the settings enable them.
fn reflection_routes(config: &Config) -> anyhow::Result<Routes> {
    if !config.has_reflection() {
        return Ok(Routes::default());
    }
    // For clients from before 2023, such as grpcurl 1.8.
    let v1alpha = reflection().build_v1alpha()?;
    Ok(Routes::new(reflection().build_v1()?).add_service(v1alpha))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can decode error details.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
