//! The Grafana dashboard and the Prometheus rules in `deploy` match the metrics of a server.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
};

use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{metrics::sign_up, scrape::Scrape};
use crate::harness::{Client, Engine, Postgres, Process, Sqlite, TestDatabase, tool};

/// The prefixes of Sluice's metrics; all others are Prometheus' own.
const PREFIXES: [&str; 3] = ["grpc_server_", "process_", "sluice_"];

/// The labels that Prometheus adds when it scrapes.
const SCRAPE_LABELS: [&str; 2] = ["job", "instance"];

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deployed(path)).unwrap()
}

/// The metrics of Sluice in PromQL expressions, each with the labels of its selectors.
fn selected(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let is_name_character = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_name_character) {
        rest = &rest[start..];
        let end = rest
            .find(|letter| !is_name_character(letter))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let labels = used.entry(name.to_owned()).or_default();
        let Some(selector) = after.strip_prefix('{') else {
            continue;
        };
        let (selector, _) = selector.split_once('}').unwrap();
        let matchers = selector.split(',').filter(|matcher| !matcher.is_empty());
        let named = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap());
        labels.extend(named.map(|label| label.trim().to_owned()));
    }
    used
}

/// The PromQL expressions of the dashboard.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("expr" | "query", Value::String(text)) => vec![text.clone()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// The PromQL expressions of a dashboard.
pub fn dashboard(name: &str) -> String {
    let dashboard: Value = serde_json::from_str(&read(&format!("grafana/{name}.json"))).unwrap();
    expressions(&dashboard).join("\n")
}

/// The alert rules of servers, and those of edges.
pub fn rules() -> (String, String) {
    let rules = read("prometheus/alerts.yml");
    let lines = rules.lines().filter(|line| !line.trim().starts_with('#'));
    let rules = lines.collect::<Vec<_>>().join("\n");
    let (of_servers, of_edges) = rules.split_once("- name: sluice-edge-alerts").unwrap();
    (of_servers.to_owned(), of_edges.to_owned())
}

/// Checks that a text selects at least so many metrics, and that all of them, with their labels,
/// are exported.
pub fn assert_exported(scrape: &Scrape, place: &str, text: &str, least: usize) {
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in scrape.series().keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        exported.entry(name.to_owned()).or_default().extend(labels);
    }
    let used = selected(text);
    assert!(used.len() >= least, "{place}: {used:?}");
    for (name, labels) in used {
        let has = exported.get(&name);
        let has = has.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
        for label in labels {
            let is_there = has.contains(&label) || SCRAPE_LABELS.contains(&label.as_str());
            assert!(is_there, "{place}: {name} has no label {label}");
        }
    }
}

pub async fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new(tool("bin/promtool"))
        .args(arguments)
        .current_dir(deployed("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`make test` installs promtool");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let said = promtool.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{arguments:?}: {text}");
}

#[rstest]
#[tokio::test]
async fn the_dashboard_and_the_alert_rules_use_only_existing_metrics_and_labels(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[("SLUICE_BCRYPT_COST", "4")]);
    let channel = program.channel().await;
    let mut client = Client::anonymous(&channel);
    client.auth.sign_up(sign_up()).await.unwrap();
    client.auth.get_me(pb::GetMeRequest {}).await.unwrap_err();
    super::metrics::jobs_have_run(&program).await;
    let scrape = Scrape::of(&program).await;
    promtool(&["check", "metrics"], &scrape.text).await;

    let (rules, _) = rules();
    for (place, text, least) in [
        ("the dashboard", dashboard("sluice"), 30),
        ("the rules", rules, 20),
    ] {
        assert_exported(&scrape, place, &text, least);
    }
}

#[tokio::test]
async fn the_alert_rules_are_valid_and_pass_their_tests() {
    promtool(&["check", "rules", "alerts.yml"], "").await;
    promtool(&["test", "rules", "alerts_test.yml"], "").await;
}

#[tokio::test]
async fn the_scrape_configuration_is_valid_and_has_the_jobs_of_the_alert_rules() {
    promtool(&["check", "config", "prometheus.yml"], "").await;

    let rules = read("prometheus/alerts.yml");
    let selectors = rules.split("job=\"").skip(1);
    let jobs: BTreeSet<_> = selectors
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(jobs, BTreeSet::from(["sluice", "sluice-edge"]));
    let configuration = read("prometheus/prometheus.yml");
    for job in jobs {
        assert!(configuration.contains(&format!("\n  - job_name: {job}\n")));
    }
}
