use std::fs;

use super::fixture::Cli;
use crate::harness::Process;

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    let cli = Cli::new("http://127.0.0.1:1");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = cli.output(&["completions", shell]).await;
        for word in ["rotate-key", "stream-key-stdin"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[tokio::test]
async fn bash_accepts_its_completions() {
    let cli = Cli::new("http://127.0.0.1:1");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice");
    fs::write(&file, cli.output(&["completions", "bash"]).await).unwrap();

    let mut bash = tokio::process::Command::new("bash");
    bash.arg("-n").arg(&file);
    let output = Process::run(bash).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
}

#[tokio::test]
async fn every_command_has_a_man_page() {
    let cli = Cli::new("http://127.0.0.1:1");
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("man1");
    cli.output(&["man", folder.to_str().unwrap()]).await;

    for page in ["sluice", "sluice-serve", "sluice-project-rotate-key"] {
        let text = fs::read_to_string(folder.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
}
