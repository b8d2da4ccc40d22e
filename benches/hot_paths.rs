//! Microbenchmarks of work that every call does: `cargo bench --bench hot_paths`.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sluice::{
    auth::{AccessTokens, Caller, Sealer, SealingSecret, SigningKeys, Subject, TokenSettings},
    domain::{
        OrganizationId, OutagePolicy, Project, ProjectId, PublishConflictPolicy, ReconnectWindow,
        Scope, Secret, SessionId, StreamKey, UserId, now,
    },
    proto::v1 as pb,
    telemetry::metrics::call_metrics,
};
use tonic::Code;

/// An unused private key.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";

fn tokens(keys: &SigningKeys) -> AccessTokens {
    let settings = TokenSettings {
        issuer: "sluice".to_owned(),
        audience: "sluice".to_owned(),
        lifetime: Duration::from_secs(3600),
    };
    AccessTokens::new(keys.clone(), settings)
}

fn caller() -> Caller {
    Caller {
        subject: Subject::User {
            user: UserId::generate(),
            session: SessionId::generate(),
            auth_time: None,
        },
        scopes: [Scope::ProjectsRead, Scope::ProjectsWrite]
            .into_iter()
            .collect(),
    }
}

/// The verification of new and of repeated access tokens.
fn token_check(criterion: &mut Criterion) {
    let secret = Secret::new("a secret of at least thirty-two bytes");
    let ed25519 = SigningKeys::from_pem(&[Secret::new(PEM)]).expect("a key");
    for (name, keys) in [
        ("HS256", SigningKeys::from_secret(&secret)),
        ("Ed25519", ed25519),
    ] {
        let issuing = tokens(&keys);
        let token = issuing
            .issue(&caller(), None, now())
            .expect("a token")
            .token;
        let seen = tokens(&keys);
        criterion.bench_function(&format!("token check, {name}, new"), |bencher| {
            bencher.iter_batched(
                || {
                    issuing
                        .issue(&caller(), None, now())
                        .expect("a token")
                        .token
                },
                |token| {
                    assert!(seen.verify(token.expose()).is_ok());
                    token
                },
                BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("token check, {name}, repeated"), |bencher| {
            bencher.iter(|| black_box(seen.verify(black_box(token.expose()))).is_ok());
        });
    }
}

/// Sealing and opening of stream keys.
fn sealing(criterion: &mut Criterion) {
    let sealer = Sealer::new(&[SealingSecret::new([7; 32])]);
    let (key, id) = (StreamKey::generate(), ProjectId::generate());
    let sealed = key.seal(id, &sealer).sealed;
    criterion.bench_function("seal a stream key", |bencher| {
        bencher.iter(|| black_box(key.seal(id, &sealer)));
    });
    criterion.bench_function("open a stream key", |bencher| {
        bencher.iter(|| black_box(StreamKey::unseal(&sealed, id, &sealer)).is_ok());
    });
}

/// The conversion of a project to its message.
fn conversion(criterion: &mut Criterion) {
    let project = Project {
        organization_id: Some(OrganizationId::generate()),
        id: ProjectId::generate(),
        display_name: "Show".to_owned(),
        disabled: false,
        reconnect_window: ReconnectWindow::parse(Duration::from_secs(30)).expect("in range"),
        publish_conflict_policy: PublishConflictPolicy::RejectNew,
        outage_policy: OutagePolicy::End,
        stream_key_hint: "abcd".to_owned(),
        live_stream_id: None,
        revision: 1,
        create_time: now(),
        update_time: now(),
    };
    criterion.bench_function("a project as a message", |bencher| {
        bencher.iter_batched(
            || project.clone(),
            |project| black_box(pb::Project::from(project)),
            BatchSize::SmallInput,
        );
    });
}

/// The metrics of a call.
fn metrics(criterion: &mut Criterion) {
    criterion.bench_function("count a call", |bencher| {
        bencher.iter(|| {
            let metrics = call_metrics(black_box("/sluice.v1.AuthService/GetMe"));
            metrics.started();
            metrics.sent(1);
            metrics.handled(Code::Ok, Duration::from_millis(3));
        });
    });
}

criterion_group!(hot_paths, token_check, sealing, conversion, metrics);
criterion_main!(hot_paths);
