//! `examples/compose.yaml`: what it names exists, and its programs accept their settings.

use std::{collections::BTreeMap, fs};

use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    deploy_files::{documents, drain_time, repository_path, settings_of},
    load_balancers::command_of,
};
use crate::harness::{Process, Sqlite, TestDatabase, tool};

/// The file, with values for the variables that it requires.
async fn compose() -> Value {
    let mut file = documents(&[repository_path("examples/compose.yaml")]).await;
    interpolated(file.remove(0))
}

/// Replaces `${NAME:?message}` by a value, and `$$` by `$`.
fn interpolated(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(interpolated_text(&text)),
        Value::Array(items) => items.into_iter().map(interpolated).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name, interpolated(value)))
                .collect()
        }
        other => other,
    }
}

fn interpolated_text(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.replace("$$", "$");
    };
    let (variable, after) = rest.split_once('}').unwrap();
    let (name, message) = variable.split_once(":?").unwrap();
    assert!(message.contains("compose.yaml"), "{variable}");
    let value = match name {
        "POSTGRES_PASSWORD" => "secret",
        "SLUICE_JWT_SECRET" => "c1f0a9e6b37d58422e6b1d07f98a3c54",
        "SLUICE_SEALING_KEYS" => "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
        "SLUICE_HOOKS_SECRET" => "0123456789abcdef",
        _ => panic!("the first lines do not make {name}"),
    };
    format!("{before}{value}{}", interpolated_text(after))
}

fn services(file: &Value) -> &Map<String, Value> {
    file["services"].as_object().unwrap()
}

fn environment(file: &Value, service: &str) -> BTreeMap<String, String> {
    settings_of(&file["services"][service], "environment")
}

/// The texts of a list, or the names of a map.
fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect(),
        Value::Object(fields) => fields.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The port of an address of a setting.
fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[tokio::test]
async fn the_services_are_built_from_this_repository_or_are_pinned_images() {
    let file = compose().await;
    let dockerfile = fs::read_to_string(repository_path("Dockerfile")).unwrap();
    let expected = [
        "edge",
        "haproxy",
        "postgres",
        "prometheus",
        "sluice-a",
        "sluice-b",
        "srs",
    ];
    let mut found = names(&file["services"]);
    found.sort_unstable();
    assert_eq!(found, expected);

    for (name, service) in services(&file) {
        let image = service["image"].as_str().unwrap();
        let build = &service["build"];
        if build.is_null() {
            let (_, tag) = image.split_once(':').expect(name);
            assert!(tag.starts_with(|letter: char| letter.is_ascii_digit() || letter == 'v'));
            continue;
        }
        assert_eq!(build["context"], "..", "{name}");
        if let Some(target) = build["target"].as_str() {
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name}");
        }
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(names(&service["cap_drop"]), ["ALL"], "{name}");
    }
}

#[tokio::test]
async fn services_wait_for_the_health_of_what_they_need() {
    let file = compose().await;
    let dockerfile = fs::read_to_string(repository_path("Dockerfile")).unwrap();
    let has_health_check = |name: &str| {
        let service = &file["services"][name];
        // The last stage of the Dockerfile has one.
        let is_server = service["image"] == "sluice" && dockerfile.contains("\nHEALTHCHECK ");
        is_server || service["healthcheck"]["test"].is_array()
    };

    let mut waits = 0;
    for (name, service) in services(&file) {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services(&file).contains_key(needed), "{name}: {needed}");
            if how["condition"] == "service_healthy" {
                assert!(has_health_check(needed), "{name}: {needed}");
                waits += 1;
            }
        }
    }
    assert_eq!(waits, 4, "two servers for PostgreSQL, and HAProxy for both");
}

#[tokio::test]
async fn mounted_files_volumes_secrets_and_configurations_exist() {
    let file = compose().await;
    let text = fs::read_to_string(repository_path("examples/compose.yaml")).unwrap();
    for (name, service) in services(&file) {
        for volume in names(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            match source.starts_with('.') {
                true => assert!(repository_path("examples").join(source).is_file(), "{name}"),
                false => assert!(names(&file["volumes"]).contains(&source), "{name}"),
            }
        }
        for secret in names(&service["secrets"]) {
            let path = file["secrets"][secret]["file"].as_str().unwrap();
            // The first lines make it.
            assert!(text.contains(&format!(">{path}\n")), "{name}: {path}");
        }
        for config in service["configs"].as_array().into_iter().flatten() {
            let source = config["source"].as_str().unwrap();
            assert!(file["configs"][source]["content"].is_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn published_ports_are_those_that_the_services_listen_on() {
    let file = compose().await;
    let published: BTreeMap<_, _> = services(&file)
        .iter()
        .filter(|(_, service)| !service["ports"].is_null())
        .map(|(name, service)| (name.as_str(), names(&service["ports"])))
        .collect();

    let bind = environment(&file, "haproxy").remove("GRPC_BIND").unwrap();
    let grpc = format!("127.0.0.1:50050:{}", port(&bind));
    // Operations ports have no authentication.
    let expected = [
        ("haproxy", vec![&*grpc]),
        ("prometheus", vec!["127.0.0.1:9090:9090"]),
        ("srs", vec!["1935:1935"]),
    ];
    assert_eq!(published, expected.into());
    let srs = fs::read_to_string(repository_path("deploy/srs/srs.conf")).unwrap();
    assert!(srs.contains("listen              1935;"));
    let hooks = environment(&file, "edge")
        .remove("SLUICE_HOOKS_LISTEN")
        .unwrap();
    assert!(srs.contains(&format!("http://{hooks}/hooks/srs/HOOKS_SECRET/")));
    assert_eq!(file["services"]["edge"]["network_mode"], "service:srs");
    let control_plane = environment(&file, "edge").remove("SLUICE_CONTROL_PLANE");
    let expected = format!("http://haproxy:{}", port(&bind));
    assert_eq!(control_plane, Some(expected));
}

#[tokio::test]
async fn the_servers_trust_the_proxy_and_have_time_to_drain() {
    let file = compose().await;
    let haproxy = &file["services"]["haproxy"]["networks"]["default"]["ipv4_address"];
    for name in ["sluice-a", "sluice-b"] {
        let settings = environment(&file, name);
        assert_eq!(settings["SLUICE_TRUSTED_PROXIES"], *haproxy);
        let service = &file["services"][name];
        let grace = service["stop_grace_period"].as_str().unwrap();
        assert!(humantime::parse_duration(grace).unwrap() > drain_time(&settings));
        let url = &settings["DATABASE_URL"];
        let postgres = environment(&file, "postgres");
        let expected = format!(
            "postgres://{}:{}@postgres:5432/{}?sslmode=disable",
            postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"], postgres["POSTGRES_DB"]
        );
        assert_eq!(*url, expected);
    }
}

#[tokio::test]
async fn the_programs_accept_their_settings() {
    let file = compose().await;
    let example = fs::read_to_string(repository_path(".env.example")).unwrap();
    for (service, command) in [("sluice-a", &["migrate"][..]), ("edge", &["edge", "check"])] {
        let settings = environment(&file, service);
        for name in settings.keys() {
            assert!(example.contains(&format!("\n#{name}=")), "{name}");
        }
        let database = TestDatabase::empty(Sqlite).await;
        let directory = database.directory.path();
        let key = directory.join("edge-api-key");
        fs::write(&key, "slk_x").unwrap();
        // What exists in the containers only.
        let own = [
            ("DATABASE_URL", &*database.url),
            ("SLUICE_DATA_DIR", directory.to_str().unwrap()),
            ("SLUICE_EDGE_DIR", directory.to_str().unwrap()),
            ("SLUICE_API_KEY_FILE", key.to_str().unwrap()),
            ("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1"),
            ("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1"),
            ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
            ("SLUICE_EDGE_OPERATIONS_LISTEN", "off"),
        ];
        let settings = settings.iter().map(|(name, value)| (&**name, &**value));
        let settings: Vec<_> = settings.chain(own).collect();

        let output = Process::run(Process::command(command, &settings)).await;

        // For the edge, there is neither a control plane nor a media server.
        let expected = if service == "edge" { 1 } else { 0 };
        assert_eq!(output.exit_code, Some(expected), "{output:?}");
    }
}

#[tokio::test]
async fn haproxy_accepts_its_configuration_with_the_replicas() {
    let file = compose().await;
    let settings = environment(&file, "haproxy");
    let [a, b] = ["REPLICA_A", "REPLICA_B"].map(|name| settings[name].as_str());
    assert_eq!([a, b], ["sluice-a:50051", "sluice-b:50051"]);
    let listen = &environment(&file, "sluice-a")["SLUICE_LISTEN"];
    assert_eq!(port(listen), "50051");

    let mut check = command_of("haproxy");
    check
        .args(["-c", "-f"])
        .arg(repository_path("deploy/haproxy/haproxy.cfg"));
    for (name, value) in &settings {
        // The names of services exist in their network only.
        let value = value.replace("sluice-a", "127.0.0.1");
        check.env(name, value.replace("sluice-b", "127.0.0.1"));
    }
    let checked = check.output().await.unwrap();

    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}

#[tokio::test]
async fn prometheus_accepts_its_configuration_which_scrapes_every_operations_port() {
    let file = compose().await;
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("prometheus.yml");
    let content = file["configs"]["prometheus"]["content"].as_str().unwrap();
    fs::write(&config, content).unwrap();
    let alerts = repository_path("deploy/prometheus/alerts.yml");
    fs::copy(alerts, folder.path().join("alerts.yml")).unwrap();

    let checked = Command::new(tool("bin/promtool"))
        .args(["check", "config"])
        .arg(&config)
        .output()
        .await
        .unwrap();

    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(checked.status.success(), "{said}");
    let parsed = documents(&[config]).await.remove(0);
    let jobs = parsed["scrape_configs"].as_array().unwrap();
    let targets: Vec<_> = jobs
        .iter()
        .flat_map(|job| names(&job["static_configs"][0]["targets"]))
        .collect();
    let operations = |service: &str, name: &str| {
        let settings = environment(&file, service);
        port(&settings[name]).to_owned()
    };
    let of_server = operations("sluice-a", "SLUICE_OPERATIONS_LISTEN");
    let of_edge = operations("edge", "SLUICE_EDGE_OPERATIONS_LISTEN");
    let expected = [
        format!("sluice-a:{of_server}"),
        format!("sluice-b:{of_server}"),
        format!("srs:{of_edge}"),
    ];
    assert_eq!(targets, expected);
}
