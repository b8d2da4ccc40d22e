//! The echo server behind all layers of the real server.

use std::time::{Duration, Instant};

use clap::Parser;
use sluice::{
    auth::{
        AccessTokens, AuthInterceptor, Caller, Rate, RateLimits, Revocations, SigningKeys, Subject,
    },
    config::Config,
    domain::{Scope, Secret, SessionId, UserId, now},
    layers, telemetry,
    transport::Listener,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::bare::Bare;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
}

/// Serves until it is killed. Prints its address and a token first.
pub async fn serve() -> anyhow::Result<()> {
    let Settings { config } = Settings::parse_from(["sluice", "--env=production"]);
    telemetry::init(&config.log())?;
    let secret = Secret::new("a secret of at least thirty-two bytes");
    let tokens = AccessTokens::new(SigningKeys::from_secret(&secret), config.tokens());
    let revocations = Revocations::default();
    let unlimited = Rate {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    let limits = RateLimits::new(unlimited, unlimited);
    let interceptor = AuthInterceptor::new(tokens.clone(), revocations.clone(), limits);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let subject = Subject::User {
        user: UserId::generate(),
        session: SessionId::generate(),
        auth_time: None,
    };
    let caller = Caller {
        subject,
        scopes: [Scope::ProjectsRead].into_iter().collect(),
    };
    let token = tokens.issue(&caller, None, now())?.token;
    println!("{} {}", listener.local_addr()?, token.expose());

    tokio::spawn(async move {
        loop {
            revocations.update([], Instant::now());
            sleep(Duration::from_secs(1)).await;
        }
    });
    let listener = Listener::new(vec![listener.into()], config.listener())?;
    let services = layers::stack(Bare::Echo, interceptor, &config.layers());
    listener.serve(services, CancellationToken::new()).await;
    Ok(())
}
