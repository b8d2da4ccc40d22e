use std::{collections::BTreeSet, fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::deploy_files::{
    documents, drain_time, files_below, manifests, object_of_kind, repository_path, settings_of,
    settings_of_file,
};
use crate::harness::{Process, Sqlite, TestDatabase, tool};

/// The oldest supported version of Kubernetes.
const KUBERNETES: &str = "1.30";

/// Settings that a file without secrets must not have.
const SECRETS: [&str; 5] = [
    "DATABASE_URL",
    "DB_PASSWORD",
    "SLUICE_JWT_SECRET",
    "SLUICE_SEALING_KEYS",
    "SLUICE_MAIL",
];

async fn validated(files: &[std::path::PathBuf]) -> (bool, String) {
    let checked = Command::new(tool("venv/bin/kubernetes-validate"))
        .args(["--strict", "--kubernetes-version", KUBERNETES])
        .args(files)
        .output()
        .await
        .unwrap();
    let output = [checked.stdout, checked.stderr].concat();
    (checked.status.success(), String::from_utf8(output).unwrap())
}

/// The Pod specs of the Deployment and the Job.
fn pods(documents: &[Value]) -> Vec<&Value> {
    let kinds = ["Deployment", "Job"];
    kinds
        .map(|kind| &object_of_kind(documents, kind)["spec"]["template"]["spec"])
        .to_vec()
}

/// The port of an address.
fn port(address: &str) -> u64 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn the_manifests_are_valid_for_kubernetes() {
    let (valid, output) = validated(&manifests()).await;
    assert!(valid, "{output}");
    assert_eq!(
        output.matches(" passed for resource ").count(),
        9,
        "{output}"
    );

    let folder = TempDir::new().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    let text = fs::read_to_string(repository_path("deploy/kubernetes/deployment.yaml")).unwrap();
    fs::write(&wrong, text.replace("maxSurge:", "maxSurges:")).unwrap();
    let (valid, output) = validated(&[wrong]).await;
    assert!(!valid && output.contains("maxSurges"), "{output}");
}

#[tokio::test]
async fn the_kustomization_lists_every_manifest() {
    let list = documents(&[repository_path("deploy/kubernetes/kustomization.yaml")])
        .await
        .remove(0);
    let listed = list["resources"].as_array().unwrap();
    let names = manifests().into_iter().map(|file| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        // The example is copied to secret.yaml.
        json!(name.replace("secret.example.yaml", "secret.yaml"))
    });
    assert_eq!(*listed, names.collect::<Vec<_>>());
}

#[test]
fn every_setting_that_deploy_and_docs_name_exists() {
    let example = fs::read_to_string(repository_path(".env.example")).unwrap();
    let known: BTreeSet<_> = example
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.split_once('=')?.0))
        .collect();
    let mut files = files_below(&repository_path("deploy"));
    files.extend(["Dockerfile", "docs/operations.md"].map(repository_path));

    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let mut named = words.filter(|word| word.starts_with("SLUICE_") && !word.ends_with('_'));
        // What no file of settings holds: settings of commands, and names of others.
        let others = [
            "SLUICE_COPY_TO",
            "SLUICE_ENV_FILE",
            "SLUICE_OPERATOR_KEY",
            "SLUICE_OPERATOR_KEY_FILE",
            "SLUICE_PORT_50051_TCP",
            "SLUICE_SERVER",
            "SLUICE_TEST_FAILOVERS",
        ];
        if let Some(unknown) = named.find(|name| !others.contains(name) && !known.contains(name)) {
            panic!("{} names {unknown}, which is no setting", file.display());
        }
    }
}

#[tokio::test]
async fn the_program_accepts_the_settings_of_every_file() {
    let documents = documents(&manifests()).await;
    let environment = fs::read_to_string(repository_path("deploy/systemd/sluice.env")).unwrap();
    let key = STANDARD.encode(std::array::from_fn::<u8, 32, _>(|at| at as u8));
    for settings in [
        settings_of(object_of_kind(&documents, "ConfigMap"), "data"),
        settings_of_file(&environment),
    ] {
        for secret in SECRETS {
            let harmless = settings.get(secret).is_none_or(|value| value == "off");
            assert!(harmless, "{secret} is a secret");
        }
        let database = TestDatabase::create(Sqlite).await;
        let own = [
            ("DATABASE_URL", &*database.url),
            (
                "SLUICE_DATA_DIR",
                database.directory.path().to_str().unwrap(),
            ),
            ("SLUICE_JWT_SECRET", "c1f0a9e6b37d58422e6b1d07f98a3c54"),
            ("SLUICE_SEALING_KEYS", &*key),
        ];
        let settings = settings.iter().map(|(name, value)| (&**name, &**value));
        let settings: Vec<_> = settings.chain(own).collect();
        let output = Process::run(Process::command(&["migrate"], &settings)).await;
        assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    }
}

#[tokio::test]
async fn the_ports_of_the_manifests_are_those_that_the_program_listens_on() {
    let documents = documents(&manifests()).await;
    let settings = settings_of(object_of_kind(&documents, "ConfigMap"), "data");
    let grpc = json!(port(&settings["SLUICE_LISTEN"]));
    let operations = json!(port(&settings["SLUICE_OPERATIONS_LISTEN"]));
    let deployment = object_of_kind(&documents, "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];

    let ports = container["ports"].as_array().unwrap();
    let named: Vec<_> = ports
        .iter()
        .map(|one| (&one["name"], &one["containerPort"]))
        .collect();
    assert_eq!(
        named,
        [(&json!("grpc"), &grpc), (&json!("operations"), &operations)]
    );
    for probe in ["startupProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "operations", "{probe}");
        assert_eq!(container[probe]["httpGet"]["path"], "/readyz", "{probe}");
    }
    let liveness = &container["livenessProbe"]["httpGet"];
    assert_eq!(liveness["port"], "operations");
    assert_eq!(liveness["path"], "/livez");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(
        annotations["prometheus.io/port"],
        json!(operations.to_string())
    );
    for service in documents.iter().filter(|one| one["kind"] == "Service") {
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "grpc");
        assert_eq!(service["spec"]["ports"][0]["port"], grpc);
    }
    let ingress = &object_of_kind(&documents, "NetworkPolicy")["spec"]["ingress"];
    assert_eq!(ingress[0]["ports"], json!([{ "port": grpc }]));
    assert_eq!(ingress[1]["ports"], json!([{ "port": operations }]));
}

#[tokio::test]
async fn there_is_time_to_drain_before_a_server_is_killed() {
    let documents = documents(&manifests()).await;
    let settings = settings_of(object_of_kind(&documents, "ConfigMap"), "data");
    let pod = pods(&documents)[0];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(
        Duration::from_secs(grace) > drain_time(&settings),
        "{grace}"
    );
    let probe = &pod["containers"][0]["readinessProbe"];
    let noticed = (probe["periodSeconds"].as_u64().unwrap()
        + probe["timeoutSeconds"].as_u64().unwrap())
        * probe["failureThreshold"].as_u64().unwrap();
    let delay = humantime::parse_duration(&settings["SLUICE_DRAIN_DELAY"]).unwrap();
    assert!(delay >= Duration::from_secs(noticed), "{noticed}");

    let settings = settings_of_file(
        &fs::read_to_string(repository_path("deploy/systemd/sluice.env")).unwrap(),
    );
    let unit = fs::read_to_string(repository_path("deploy/systemd/sluice.service")).unwrap();
    let unit = settings_of_file(&unit);
    let patience = humantime::parse_duration(&unit["TimeoutStopSec"]).unwrap();
    assert!(patience > drain_time(&settings), "{patience:?}");
}

#[tokio::test]
async fn pods_meet_the_restricted_pod_security_standard() {
    let documents = documents(&manifests()).await;
    let dockerfile = fs::read_to_string(repository_path("Dockerfile")).unwrap();
    for pod in pods(&documents) {
        let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
        assert!(
            dockerfile.contains(&format!("USER {user}:")),
            "the image has another user"
        );
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in pod["containers"].as_array().unwrap() {
            let expected = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], expected);
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

#[tokio::test]
async fn selectors_match_server_pods_and_not_migration_jobs() {
    let documents = documents(&manifests()).await;
    let deployment = object_of_kind(&documents, "Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selectors = documents
        .iter()
        .filter_map(|one| match one["kind"].as_str().unwrap() {
            "Service" => Some(&one["spec"]["selector"]),
            "PodDisruptionBudget" | "Deployment" => Some(&one["spec"]["selector"]["matchLabels"]),
            _ => None,
        });
    let selectors: Vec<_> = selectors.collect();
    assert_eq!(selectors, [labels; 4]);
    let migration = &object_of_kind(&documents, "Job")["spec"]["template"]["metadata"]["labels"];
    assert_ne!(migration, labels);
    let scaled = &object_of_kind(&documents, "HorizontalPodAutoscaler")["spec"];
    assert!(scaled["minReplicas"].as_u64().unwrap() >= 2);
    // A fixed number would undo the autoscaler with each apply.
    assert_eq!(deployment["spec"]["replicas"], Value::Null);
    let policy = &object_of_kind(&documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"];
    for (label, value) in policy.as_object().unwrap() {
        assert!(
            labels[label] == *value && migration[label] == *value,
            "{label}"
        );
    }
}
