use super::fixture::{Cli, failed};
use crate::harness::{Certificate, Process, Sqlite, TestDatabase, eventually};

const SIGN_UP: [&str; 6] = [
    "signup",
    "--email",
    "ada@example.com",
    "--display-name",
    "Ada",
    "--password-stdin",
];

#[tokio::test]
async fn a_private_authority_is_trusted_if_it_is_named_and_from_then_on() {
    let database = TestDatabase::create(Sqlite).await;
    let certificate = Certificate::make(database.directory.path()).await;
    let file = certificate.file.to_str().unwrap();
    let settings = [
        ("SLUICE_TLS_CERT", file),
        ("SLUICE_TLS_KEY", certificate.key.to_str().unwrap()),
    ];
    let server = Process::serve(&database, &settings);
    let address = server.address().await;
    let port = address.rsplit_once(':').unwrap().1;
    let cli = Cli::new(&format!("https://localhost:{port}"));

    let password = "correct horse battery staple";
    let arguments = [&SIGN_UP[..], &["--ca-file", file]].concat();
    eventually("the server answers", async || {
        let output = cli.run_with_input(&arguments, password).await;
        (output.exit_code == Some(0)).then_some(())
    })
    .await;

    // The profile has the file.
    assert!(cli.output(&["whoami"]).await.contains("ada@example.com"));
    let missing = cli.run(&["whoami", "--ca-file", "/nonexistent.pem"]).await;
    failed(&missing, 2, &["--ca-file", "/nonexistent.pem"]);
}

#[tokio::test]
async fn an_authority_of_the_platform_is_trusted() {
    let database = TestDatabase::create(Sqlite).await;
    let certificate = Certificate::make(database.directory.path()).await;
    let file = certificate.file.to_str().unwrap();
    let settings = [
        ("SLUICE_TLS_CERT", file),
        ("SLUICE_TLS_KEY", certificate.key.to_str().unwrap()),
    ];
    let server = Process::serve(&database, &settings);
    let address = server.address().await;
    let port = address.rsplit_once(':').unwrap().1;
    let cli = Cli::new(&format!("https://localhost:{port}"));
    let key = ["project", "list", "--api-key", "slk_unknown"];

    eventually("the server answers", async || {
        let output = cli.run_with(&key, ("SSL_CERT_FILE", file)).await;
        (output.exit_code == Some(3)).then_some(())
    })
    .await;
    let other = tempfile::tempdir().unwrap();
    let other = Certificate::make(other.path()).await;
    let variable = ("SSL_CERT_FILE", other.file.to_str().unwrap());
    failed(&cli.run_with(&key, variable).await, 6, &["cannot reach"]);
}
