//! The log in files instead of on standard error.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::startup::outcome;
use crate::harness::{Process, Signal, Sqlite, TestDatabase, eventually};

/// The names of the files in a directory, sorted.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Serves until it has logged its address into the only new file of a directory, and ends.
/// Returns the lines of that file, and what came on standard error.
async fn serve(directory: &Path, settings: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let before = files(directory);
    let database = TestDatabase::create(Sqlite).await;
    let path = directory.join("sluice.log").display().to_string();
    let mut all = vec![("SLUICE_LOG_FILE", &*path)];
    all.extend(settings);
    let mut program = Process::serve(&database, &all);
    let file = eventually("the log has its first lines", async || {
        let new = files(directory)
            .into_iter()
            .find(|file| !before.contains(file));
        let file = directory.join(new?);
        let text = fs::read_to_string(&file).ok()?;
        text.contains("\"serving\"").then_some(file)
    })
    .await;
    program.signal(Signal::TERM);
    assert_eq!(program.wait_for_exit().await, Some(0));
    let text = fs::read_to_string(file).unwrap();
    (text.lines().map(str::to_owned).collect(), program.log())
}

#[tokio::test]
async fn the_log_is_written_as_json_to_one_file_without_rotation() {
    let folder = TempDir::new().unwrap();
    let never = [("SLUICE_LOG_ROTATION", "never")];
    let (lines, stderr) = serve(folder.path(), &never).await;

    assert_eq!(files(folder.path()), ["sluice.log"]);
    for line in &lines {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(
        lines.last().unwrap().contains("stopped"),
        "the log is complete: {lines:?}"
    );
    assert!(stderr.is_empty(), "{stderr:?}");
}

#[tokio::test]
async fn a_rotated_log_keeps_a_number_of_files_and_nothing_else_is_deleted() {
    for (rotation, times) in [
        ("daily", ["2026-01-01", "2026-01-02", "2026-01-03"]),
        (
            "hourly",
            ["2026-01-01-01", "2026-01-01-02", "2026-01-01-03"],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        for time in times {
            fs::write(folder.path().join(format!("sluice.{time}.log")), "").unwrap();
        }
        fs::write(folder.path().join("other.2026-01-01.log"), "").unwrap();
        let settings = [("SLUICE_LOG_ROTATION", rotation), ("SLUICE_LOG_FILES", "2")];
        serve(folder.path(), &settings).await;

        let kept = files(folder.path());
        let own = kept.iter().filter(|name| name.starts_with("sluice."));
        assert_eq!(own.count(), 2, "{kept:?}");
        assert!(
            kept.contains(&"other.2026-01-01.log".to_owned()),
            "{kept:?}"
        );
    }
}

#[tokio::test]
async fn a_log_file_that_cannot_be_opened_stops_the_start_with_an_error_that_names_the_setting() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().display().to_string();
    for file in [format!("{data}/missing/sluice.log"), "/".to_owned()] {
        let settings = [
            ("SLUICE_DATA_DIR", &*data),
            ("SLUICE_LISTEN", "127.0.0.1:0"),
            ("SLUICE_LOG_FILE", &file),
        ];
        let (code, stderr) = outcome(&["serve"], &settings).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("SLUICE_LOG_FILE"), "{stderr}");
    }
}
