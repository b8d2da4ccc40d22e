use rstest::rstest;

use super::startup::outcome;

#[rstest]
#[case("SLUICE_ENV", "staging")]
#[case("SLUICE_LISTEN", "everywhere")]
#[case("SLUICE_LISTEN", "127.0.0.1:99999")]
#[case("DATABASE_URL", "mysql://localhost/x")]
#[case("DATABASE_URL", "postgres://host:port:port/")]
#[case("DATABASE_URL", "postgres://a,,b/x")]
#[case("DATABASE_URL", "postgres://a,b/x?port=1,2,3")]
#[case("DATABASE_URL", "postgres://a,b/x?target_session_attrs=standby")]
#[case("DATABASE_URL", "sqlite:")]
#[case("SLUICE_DB_POOLER", "session")]
#[case("DB_PORT", "0")]
#[case("DB_PORT", "5433")]
#[case("DB_USER", "ada")]
#[case("DB_PASSWORD", "secret")]
#[case("DB_NAME", "sluice")]
#[case("DB_SSLMODE", "perhaps")]
#[case("SLUICE_DB_POOL_SIZE", "-1")]
#[case("SLUICE_DB_ACQUIRE_TIMEOUT", "0s")]
#[case("SLUICE_SLOW_QUERY", "soon")]
#[case("SLUICE_JWT_SECRET", "secret")]
#[case("SLUICE_JWT_ISSUER", " ")]
#[case("SLUICE_ACCESS_TOKEN_LIFETIME", "2days")]
#[case("SLUICE_SESSION_IDLE_TIMEOUT", "91days")]
#[case("SLUICE_SEALING_KEYS", "AAAA")]
#[case("SLUICE_SEALING_KEYS", "not base64!")]
#[case("SLUICE_BCRYPT_COST", "31")]
#[case("SLUICE_BCRYPT_COST", "ten")]
#[case("SLUICE_PASSWORD_QUEUE", "0")]
#[case("SLUICE_OIDC_PROVIDERS", "acme")]
#[case(
    "SLUICE_OIDC_PROVIDERS",
    "name=acme,issuer=http://id.acme.com,client_id=a"
)]
#[case(
    "SLUICE_OIDC_PROVIDERS",
    "name=google,issuer=https://id.acme.com,client_id=a"
)]
#[case(
    "SLUICE_OIDC_PROVIDERS",
    "name=a,issuer=https://a.com,client_id=a;name=a,issuer=https://b.com,client_id=b"
)]
#[case("SLUICE_WEBAUTHN_RP_ID", "https://example.com")]
#[case("SLUICE_WEBAUTHN_RP_ID", "example.com")]
#[case("SLUICE_WEBAUTHN_ORIGINS", "https://app.example.com")]
#[case("SLUICE_WEBAUTHN_ORIGINS", "http://app.example.com")]
#[case("SLUICE_MAIL", "on")]
#[case("SLUICE_MAIL", "folder:")]
#[case("SLUICE_MAIL", "smtp://ada@mail.example.com")]
#[case("SLUICE_MAIL", "smtps://mail.example.com?tls=none")]
#[case("SLUICE_MAIL_FROM", "Sluice")]
#[case("SLUICE_MAIL_FROM", "Sluice <sluice@localhost>\r\nBcc: x@example.com")]
#[case("SLUICE_MAIL_VERIFY_URL", "app.example.com")]
#[case("SLUICE_MAIL_CHANGE_URL", "app.example.com/change")]
#[case("SLUICE_MAIL_INVITATION_URL", "app.example.com/join")]
#[case("SLUICE_MAIL_RESET_URL", "javascript:alert(1)")]
#[case("SLUICE_HEARTBEAT_TIMEOUT", "10s")]
#[case("SLUICE_NATS_URL", "http://127.0.0.1:4222")]
#[case("SLUICE_NATS_URL", "nats://a,tls://b")]
#[case("SLUICE_NATS_CREDENTIALS", "nats.creds")]
#[case("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "maybe")]
#[case("SLUICE_INGEST_HOSTS", "rtmp://ingest.example.com/live")]
#[case("SLUICE_TRUSTED_PROXIES", "10.0.0.0/33")]
#[case("SLUICE_TRUSTED_PROXIES", "proxy.example.com")]
#[case("SLUICE_TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0")]
#[case("SLUICE_MAX_CONNECTIONS", "0")]
#[case("SLUICE_MAX_ADDRESS_CONNECTIONS", "many")]
#[case("SLUICE_MAX_ANONYMOUS_CONNECTIONS", "0")]
#[case("SLUICE_ADDRESS_CONNECTION_RATE", "-1")]
#[case("SLUICE_ADDRESS_CONNECTION_BURST", "0")]
#[case("SLUICE_MAX_CONNECTION_CALLS", "200")]
#[case("SLUICE_RESPONSE_READ_TIMEOUT", "0s")]
#[case("SLUICE_HANDSHAKE_TIMEOUT", "0s")]
#[case("SLUICE_CONNECTION_AGE", "often")]
#[case("SLUICE_CONNECTION_GRACE", "2h")]
#[case("SLUICE_CONNECTION_IDLE", "-1s")]
#[case("SLUICE_UNUSED_CONNECTION_TIMEOUT", "0s")]
#[case("SLUICE_TLS_CERT", "cert.pem")]
#[case("SLUICE_TLS_KEY", "key.pem")]
#[case("SLUICE_TLS_CLIENT_CA", "ca.pem")]
#[case("SLUICE_WEB_ORIGINS", "*")]
#[case("SLUICE_WEB_ORIGINS", "https://app.example.com/")]
#[case("SLUICE_CALLER_RATE", "-1")]
#[case("SLUICE_CALLER_BURST", "0")]
#[case("SLUICE_ADDRESS_RATE", "often")]
#[case("SLUICE_ADDRESS_BURST", "0")]
#[case("SLUICE_REFLECTION", "2")]
#[case("SLUICE_DRAIN_TIMEOUT", "forever")]
#[case("SLUICE_OPERATIONS_LISTEN", "everywhere")]
#[case("SLUICE_SLOW_CALL", "0s")]
#[case("SLUICE_OTLP_ENDPOINT", "collector")]
#[case("SLUICE_OTLP_ENDPOINT", "ftp://collector:4317")]
#[case("SLUICE_TRACE_RATIO", "2")]
#[case("SLUICE_LOG", "sluice=loud")]
#[case("SLUICE_LOG_FORMAT", "xml")]
#[case("SLUICE_JWT_KEY_FILES", "/nonexistent.pem")]
#[tokio::test]
async fn an_invalid_setting_stops_the_start_with_an_error_that_names_it(
    #[case] variable: &str,
    #[case] value: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let data = ("SLUICE_DATA_DIR", directory.path().to_str().unwrap());

    let (code, stderr) = outcome(&["serve"], &[data, (variable, value)]).await;

    let last = stderr.lines().last().unwrap_or_default();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(last.starts_with(&format!("sluice: {variable}")), "{stderr}");
}

#[tokio::test]
async fn the_origins_of_passkeys_are_within_their_domain() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("SLUICE_DATA_DIR", directory.path().to_str().unwrap()),
        ("SLUICE_WEBAUTHN_RP_ID", "example.com"),
        (
            "SLUICE_WEBAUTHN_ORIGINS",
            "https://app.example.com,https://example.org",
        ),
    ];

    let (code, stderr) = outcome(&["serve"], &settings).await;

    let last = stderr.lines().last().unwrap_or_default();
    assert_eq!(code, Some(2), "{stderr}");
    let expected = "sluice: SLUICE_WEBAUTHN_ORIGINS must have the domain of SLUICE_WEBAUTHN_RP_ID";
    assert!(last.starts_with(expected), "{stderr}");
}
