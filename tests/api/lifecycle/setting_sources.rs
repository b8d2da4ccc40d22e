//! Settings come from flags, the environment and `.env`, in this order.

use std::{fs, path::Path};

use rstest::rstest;

use super::startup::outcome;
use crate::harness::{CommandOutput, Postgres, Process, TestDatabase};

/// Runs a command in a folder, with the environment of `settings` only.
async fn run_in(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> CommandOutput {
    let mut command = Process::command(arguments, settings);
    command.env_remove("SLUICE_ENV_FILE").current_dir(folder);
    // A test may set it after all.
    command.envs(settings.iter().copied());
    Process::run(command).await
}

/// The line of `sluice check` about a setting.
fn effective<'a>(output: &'a CommandOutput, name: &str) -> &'a str {
    let start = format!("{name}=");
    let mut lines = output.stdout.lines();
    let line = lines.find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("{name}: {output:?}"))
}

#[tokio::test]
async fn a_password_in_the_file_arrives_as_it_was_written() {
    let database = TestDatabase::empty(Postgres).await;
    let url = url::Url::parse(&database.url).unwrap();
    let role = format!("role_{}", url.path().trim_start_matches('/'));
    let password = r#"a$HOME&b;c#d'e"f g\n`id`%41"#;
    database
        .execute(&format!(
            "create role {role} superuser login password '{}'",
            password.replace('\'', "''")
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "# The database\nexport DB_HOST={}\nDB_PORT={}\nDB_USER={role}\nDB_NAME={}\n\
         DB_PASSWORD={password}\n",
        url.host_str().unwrap(),
        url.port().unwrap_or(5432),
        url.path().trim_start_matches('/'),
    );
    fs::write(folder.path().join(".env"), file).unwrap();

    let output = run_in(folder.path(), &["migrate"], &[]).await;

    database
        .execute(&format!("drop owned by {role}; drop role {role}"))
        .await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn every_character_of_a_database_url_in_the_file_counts() {
    let database = TestDatabase::empty(Postgres).await;
    let folder = tempfile::tempdir().unwrap();
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let file = format!(
        "DATABASE_URL={}{separator}application_name=x&statement-cache-capacity=7\n",
        database.url
    );
    fs::write(folder.path().join(".env"), file).unwrap();

    let output = run_in(folder.path(), &["migrate"], &[]).await;

    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    assert_eq!(database.number("select count(*) from users").await, 0);
    assert!(!folder.path().join("data/sluice.db").exists());
}

#[tokio::test]
async fn flags_come_before_the_environment_the_file_and_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = "SLUICE_CALLER_RATE=1\nSLUICE_ADDRESS_RATE=2\n\nSLUICE_MAX_WATCHES=3\n";
    fs::write(folder.path().join(".env"), file).unwrap();
    let settings = [("SLUICE_CALLER_RATE", "4"), ("SLUICE_ADDRESS_RATE", "5")];

    let output = run_in(folder.path(), &["check", "--caller-rate=6"], &settings).await;

    for (setting, source) in [
        ("SLUICE_CALLER_RATE=6 ", "# flag"),
        ("SLUICE_ADDRESS_RATE=5 ", "# environment"),
        ("SLUICE_MAX_WATCHES=3 ", "# .env, line 4"),
        ("SLUICE_MAX_CALLS=2048 ", "# default"),
    ] {
        let line = effective(&output, setting.split('=').next().unwrap());
        assert!(line.starts_with(setting), "{line}");
        assert!(line.ends_with(source), "{line}");
    }
}

/// As compose sets them: `X: ${X:-}`.
#[tokio::test]
async fn an_empty_variable_counts_as_not_set_for_every_setting_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../../../.env.example");
    let names = example.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix('#')?.split_once('=')?;
        (!name.contains(' ')).then_some(name)
    });
    let mut empty: Vec<_> = names.map(|name| (name, "")).collect();
    assert!(empty.len() > 60);
    // The file applies where the environment is empty.
    fs::write(folder.path().join(".env"), "SLUICE_CALLER_RATE=7\n").unwrap();
    empty.push(("SLUICE_OPERATIONS_LISTEN", "127.0.0.1:0"));
    empty.push(("SLUICE_LISTEN", "127.0.0.1:0"));

    let output = run_in(folder.path(), &["check"], &empty).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(effective(&output, "SLUICE_CALLER_RATE").starts_with("SLUICE_CALLER_RATE=7 "));
    assert!(effective(&output, "DB_HOST").ends_with("# default"));

    let output = run_in(folder.path(), &["migrate"], &empty).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(folder.path().join("data/sluice.db").exists());

    // What an edge requires is missing, and nothing else is wrong.
    let output = run_in(folder.path(), &["edge"], &empty).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .lines()
            .all(|line| line.contains("must be set")),
        "{output:?}"
    );
}

#[tokio::test]
async fn an_empty_flag_is_an_error() {
    let (code, stderr) = outcome(&["serve", "--database-url="], &[]).await;

    assert_eq!(code, Some(2), "{stderr}");
    let sentence = "sluice: DATABASE_URL (--database-url) must not be empty";
    assert_eq!(stderr.trim_end(), sentence);
}

#[rstest]
#[case("SLUICE_LISTEN", "line 2: must be NAME=value")]
#[case("SLUICE_LISTEN = x", "line 2: must be NAME=value")]
#[case(
    "SLUICE_JWT_ISSUER=secret # comment",
    "line 2: SLUICE_JWT_ISSUER must be in quotes"
)]
#[case(
    "SLUICE_JWT_ISSUER='secret",
    "line 2: SLUICE_JWT_ISSUER must end with the quote"
)]
#[case("SLUICE_LOG=debug", "line 2: SLUICE_LOG is set a second time")]
#[case("SLUICE_ENV_FILE=off", "line 2: SLUICE_ENV_FILE has an effect only")]
#[tokio::test]
async fn a_malformed_line_is_an_error_of_every_command_that_names_file_and_line(
    #[case] line: &str,
    #[case] sentence: &str,
    #[values(
        "serve",
        "edge",
        "check",
        "migrate",
        "health",
        "admin end-sessions --all"
    )]
    command: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join(".env"),
        format!("SLUICE_LOG=info\n{line}\n"),
    )
    .unwrap();

    let arguments: Vec<_> = command.split(' ').collect();
    let output = run_in(folder.path(), &arguments, &[]).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let start = format!("sluice: .env, {sentence}");
    assert!(output.stderr.starts_with(&start), "{output:?}");
    assert!(!output.stderr.contains("secret"), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
}

#[tokio::test]
async fn another_file_can_be_named_or_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "SLUICE_CALLER_RATE=1\n").unwrap();
    fs::write(folder.path().join("other"), "SLUICE_CALLER_RATE=2\n").unwrap();
    let check = async |file| {
        let listen = ("SLUICE_LISTEN", "127.0.0.1:0");
        run_in(
            folder.path(),
            &["check"],
            &[("SLUICE_ENV_FILE", file), listen],
        )
        .await
    };

    for (file, rate) in [("", "1"), ("other", "2"), ("off", "200")] {
        let output = check(file).await;
        let expected = format!("SLUICE_CALLER_RATE={rate} ");
        assert!(
            effective(&output, "SLUICE_CALLER_RATE").starts_with(&expected),
            "{output:?}"
        );
    }
    let output = check("missing").await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(
        output.stderr.starts_with("sluice: missing cannot be read"),
        "{output:?}"
    );
}

#[tokio::test]
async fn all_invalid_settings_are_reported_at_once_with_variable_flag_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = "SLUICE_LISTEN=everywhere\nSLUICE_HEARTBEAT_TIMEOUT=1s\nDB_PORT=1\n";
    fs::write(folder.path().join(".env"), file).unwrap();
    let secret = "short-secret";
    let settings = [
        ("SLUICE_JWT_SECRET", secret),
        ("SLUICE_LOG_FORMAT", "xml"),
        ("SLUICE_TLS_CERT", "cert.pem"),
    ];

    let arguments = ["serve", "--bcrypt-cost=99", "--trusted-proxies=10.0.0.1,x"];
    let output = run_in(folder.path(), &arguments, &settings).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let expected = [
        "SLUICE_LISTEN (--listen, .env, line 1) must be an IP address",
        "SLUICE_TRUSTED_PROXIES (--trusted-proxies) must be an IP address or a network",
        "SLUICE_JWT_SECRET (--jwt-secret) must have at least 32 bytes",
        "SLUICE_LOG_FORMAT (--log-format) must be auto or human or json",
        "SLUICE_BCRYPT_COST (--bcrypt-cost) must be a whole number from 4 to 16",
        "SLUICE_HEARTBEAT_TIMEOUT must be longer than SLUICE_HEARTBEAT_INTERVAL",
        "SLUICE_TLS_CERT must not be set without SLUICE_TLS_KEY",
        "DB_PORT must not be set without DB_HOST",
    ];
    for sentence in expected {
        assert!(
            output.stderr.contains(&format!("sluice: {sentence}")),
            "{sentence}: {output:?}"
        );
    }
    assert_eq!(output.stderr.lines().count(), expected.len(), "{output:?}");
    assert!(!output.stderr.contains(secret), "{output:?}");
}

#[tokio::test]
async fn what_follows_from_an_invalid_setting_is_not_reported() {
    let settings = [
        ("DB_HOST", " "),
        ("DB_PORT", "5432"),
        ("SLUICE_HEARTBEAT_INTERVAL", "soon"),
    ];
    let (_, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(
        stderr.contains("DB_HOST (--db-host) must not be empty"),
        "{stderr}"
    );
}

#[rstest]
#[case("SLUICE_JWT_SECRETS", "did you mean SLUICE_JWT_SECRET?")]
#[case("SLUICE_LISTN", "did you mean SLUICE_LISTEN?")]
#[case("SLUICE_HOOK_SECRET", "did you mean SLUICE_HOOKS_SECRET?")]
#[case("SLUICE_COMPLETELY_DIFFERENT", "is not a setting")]
#[case("SLUICE_RELAY_PATIENCE", "did you mean SLUICE_RELAY_PROGRESS_TIMEOUT?")]
#[tokio::test]
async fn an_unknown_variable_is_reported_with_the_closest_name(
    #[case] name: &str,
    #[case] sentence: &str,
    #[values(true, false)] in_file: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = vec![("SLUICE_LISTEN", "127.0.0.1:0")];
    if in_file {
        fs::write(folder.path().join(".env"), format!("{name}=a-value\n")).unwrap();
    } else {
        settings.push((name, "a-value"));
    }

    // A start goes on; a check fails.
    let migrated = run_in(folder.path(), &["migrate"], &settings).await;
    let checked = run_in(folder.path(), &["check"], &settings).await;

    assert_eq!(migrated.exit_code, Some(0), "{migrated:?}");
    assert_eq!(checked.exit_code, Some(2), "{checked:?}");
    let source = if in_file {
        ".env, line 1"
    } else {
        "environment"
    };
    for output in [migrated, checked] {
        let warnings: Vec<_> = output
            .stderr
            .lines()
            .filter(|line| line.contains(name))
            .collect();
        assert_eq!(warnings.len(), 1, "{output:?}");
        assert!(warnings[0].contains(sentence), "{output:?}");
        assert!(
            warnings[0].contains(&format!("{name} ({source})")),
            "{output:?}"
        );
        assert!(!output.stderr.contains("a-value"), "{output:?}");
    }
}

#[tokio::test]
async fn variables_of_orchestrators_tests_and_other_commands_are_not_reported() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_SERVICE_PORT_GRPC", "50051"),
        ("SLUICE_PORT", "tcp://10.0.0.1:50051"),
        ("SLUICE_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("SLUICE_HEADLESS_SERVICE_HOST", "None"),
        ("SLUICE_TEST_POSTGRES_URL", "x"),
        ("SLUICE_HOOKS_SECRET", "0123456789abcdef"),
        ("SLUICE_COPY_TO", "sqlite:other.db"),
    ];

    let output = run_in(folder.path(), &["check"], &settings).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn an_edge_warns_of_unknown_variables_too() {
    let settings = [
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", "0123456789abcdef"),
        ("SLUICE_NODE_ID", "n"),
        // It is not an address of this machine.
        ("SLUICE_HOOKS_LISTEN", "192.0.2.1:1"),
        ("SLUICE_RELAY_CAPACITI", "3"),
    ];
    let (code, stderr) = outcome(&["edge"], &settings).await;

    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("did you mean SLUICE_RELAY_CAPACITY?"),
        "{stderr}"
    );
}

#[rstest]
#[case("serve", &["--listen", "--mail", "--jwt-secret", "--database-url"], &["--hooks-secret", "--scope", "--ca"])]
#[case("edge", &["--hooks-secret", "--relay-capacity"], &["--database-url", "--jwt-secret", "--mail"])]
#[case("migrate", &["--database-url", "--data-dir", "--log"], &["--listen", "--mail", "--hooks-secret", "--caller-rate"])]
#[case("health", &["--address", "--ca", "--tls-cert"], &["--database-url", "--mail", "--caller-rate"])]
#[case("admin create-api-key", &["--scope", "--database-url", "--data-dir"], &["--listen", "--mail", "--caller-rate"])]
#[case("admin rotate-signing-key", &["--revoke-old", "--sealing-keys", "--access-token-lifetime"], &["--listen", "--mail", "--scope"])]
#[case("admin copy", &["--to", "--database-url"], &["--listen", "--mail", "--scope"])]
#[case("project create", &["--server", "--reconnect-window"], &["--listen", "--database-url", "--limit"])]
#[case("watch", &["--server", "--once"], &["--listen", "--database-url", "--limit"])]
#[tokio::test]
async fn the_help_of_a_command_shows_its_own_options_in_sections(
    #[case] command: &str,
    #[case] own: &[&str],
    #[case] others: &[&str],
) {
    // Help needs no valid settings, and shows none.
    let secret = "never-shown";
    let settings = [("SLUICE_LISTEN", secret), ("DATABASE_URL", secret)];
    let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
    let output = Process::run(Process::command(&arguments, &settings)).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let options: Vec<_> = output
        .stdout
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .map(|line| format!("--{}", line.split([' ', '=']).next().unwrap()))
        .collect();
    for option in own {
        assert!(
            options.iter().any(|shown| shown == option),
            "{option}: {options:?}"
        );
    }
    for option in others {
        assert!(
            !options.iter().any(|shown| shown == option),
            "{option}: {options:?}"
        );
    }
    let headings = output
        .stdout
        .lines()
        .filter(|line| line.ends_with(':') && !line.starts_with(' ') && !line.starts_with("Usage"));
    assert!(headings.count() >= 2, "{}", output.stdout);
    assert!(!output.stdout.contains(secret));
}

#[tokio::test]
async fn the_help_of_the_program_is_short() {
    for argument in ["help", "--help"] {
        let output = Process::run(Process::command(&[argument], &[])).await;
        assert_eq!(output.exit_code, Some(0), "{output:?}");
        assert!(output.stdout.lines().count() < 50, "{}", output.stdout);
        assert!(
            output.stdout.contains("SLUICE_ENV_FILE"),
            "{}",
            output.stdout
        );
    }
}

/// They come with text that was copied from a page or a message, and break keys and addresses.
#[tokio::test]
async fn invisible_characters_in_a_setting_are_refused_with_their_code_point() {
    let folder = tempfile::tempdir().unwrap();
    let file = "DB_NAME=slu\u{200b}ice\n";
    fs::write(folder.path().join(".env"), file).unwrap();
    let settings = [("SLUICE_JWT_ISSUER", "https://a.example.com\u{feff}")];
    let flag = "--mail-from=Slui\u{ad}ce <sluice@example.com>";

    let output = run_in(folder.path(), &["check", flag], &settings).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    for (name, code_point) in [
        ("DB_NAME (--db-name, .env, line 1)", "U+200B"),
        ("SLUICE_JWT_ISSUER (--jwt-issuer)", "U+FEFF"),
        ("SLUICE_MAIL_FROM (--mail-from)", "U+00AD"),
    ] {
        let mut lines = output.stderr.lines();
        let is_named = lines.any(|line| line.contains(name) && line.ends_with(code_point));
        assert!(is_named, "{name}: {output:?}");
    }
}
