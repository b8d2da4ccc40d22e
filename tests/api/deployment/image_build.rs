//! The steps of the Dockerfile, run as a script. This checks what is copied, what is run and what
//! is built, even where no container can be built.
//!
//! Every stage has a folder as its root. `cargo` is a stub that checks that all sources are
//! present, and installs the program that was built for these tests; `apt-get` is one that checks
//! its arguments. With
//! SLUICE_TEST_IMAGE_BUILD=release, or =dev, the real cargo builds into target/image.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// An instruction of a Dockerfile and its argument.
type Step = (String, String);

/// The last stage: its root, its environment and its instructions.
pub struct Image {
    pub root: PathBuf,
    pub environment: BTreeMap<String, String>,
    steps: Vec<Step>,
}

/// The stub for `cargo`.
const STUB_CARGO: &str = r#"#!/bin/sh
set -eu
[ "$*" = "build --locked --profile dev --bin sluice" ] || { echo "unexpected: cargo $*" >&2; exit 1; }
"$CARGO" metadata --locked --offline --no-deps --format-version 1 >/dev/null
install -D "$PROGRAM" "$CARGO_TARGET_DIR/debug/sluice"
"#;

/// The stub for `apt-get`: it accepts what the image of the edge installs.
const STUB_APT_GET: &str = r#"#!/bin/sh
case "$*" in
  update | clean | "install --yes --no-install-recommends ca-certificates ffmpeg") ;;
  *) echo "unexpected: apt-get $*" >&2; exit 1 ;;
esac
"#;

impl Image {
    /// Runs all steps below a folder.
    pub fn build(folder: &Path) -> Self {
        Self::build_until(folder, |_| false)
    }

    /// Runs the steps up to the end of the stage with this name.
    pub fn build_target(folder: &Path, target: &str) -> Self {
        let image = Self::build_until(folder, |stage| stage == target);
        assert_eq!(
            image.root,
            folder.join(target),
            "there is no stage {target}"
        );
        image
    }

    fn build_until(folder: &Path, is_target: impl Fn(&str) -> bool) -> Self {
        let mut stages: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut image = Self {
            root: PathBuf::new(),
            environment: BTreeMap::new(),
            steps: Vec::new(),
        };
        let mut directory = PathBuf::new();
        for (instruction, rest) in steps() {
            match instruction.as_str() {
                "FROM"
                    if image
                        .root
                        .file_name()
                        .is_some_and(|name| is_target(&name.to_string_lossy())) =>
                {
                    break;
                }
                "FROM" => {
                    let name = rest.split(" AS ").nth(1).unwrap_or("last");
                    image.root = folder.join(name);
                    directory.clone_from(&image.root);
                    fs::create_dir(&image.root).unwrap();
                    stages.insert(name.to_owned(), image.root.clone());
                    image.environment.clear();
                }
                "WORKDIR" => {
                    directory = below(&image.root, &rest);
                    fs::create_dir_all(&directory).unwrap();
                }
                "COPY" => copy(&rest, &stages, &image.root, &directory),
                "RUN" => run(&rest, &directory, folder),
                "ENV" => image.environment.extend(assignments(&rest)),
                _ => {}
            }
            image.steps.push((instruction, rest));
        }
        image
    }

    /// The argument of the last instruction with this name.
    pub fn argument(&self, instruction: &str) -> &str {
        let found = self
            .steps
            .iter()
            .rev()
            .find(|(name, _)| name == instruction);
        &found
            .unwrap_or_else(|| panic!("the Dockerfile has no {instruction}"))
            .1
    }

    /// The command of an instruction, in JSON form.
    pub fn command(&self, instruction: &str) -> Vec<String> {
        let said = self.argument(instruction);
        let list = &said[said.find('[').unwrap()..];
        serde_json::from_str(list).unwrap_or_else(|error| panic!("{instruction}: {error}"))
    }
}

fn steps() -> Vec<Step> {
    let text = fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let steps = joined.lines().filter_map(|line| line.split_once(' '));
    steps
        .map(|(instruction, rest)| (instruction.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn assignments(text: &str) -> impl Iterator<Item = (String, String)> {
    let words = text.split_whitespace();
    words.map(|word| {
        let (name, value) = word.split_once('=').expect("ENV has the form NAME=VALUE");
        (name.to_owned(), value.to_owned())
    })
}

/// COPY, from a stage or from the build context.
fn copy(rest: &str, stages: &BTreeMap<String, PathBuf>, root: &Path, directory: &Path) {
    let (flags, paths): (Vec<_>, Vec<_>) = rest
        .split_whitespace()
        .partition(|word| word.starts_with("--"));
    let (to, from) = paths.split_last().unwrap();
    let to = match to.starts_with('/') {
        true => below(root, to),
        false => directory.join(to.trim_end_matches("./")),
    };
    let stage = flags.iter().find_map(|flag| flag.strip_prefix("--from="));
    for path in from {
        let source = match stage {
            Some(stage) => below(&stages[stage], path),
            None => {
                let first = path.split('/').next().unwrap();
                assert!(
                    build_context().contains(first),
                    ".dockerignore keeps {path} away"
                );
                Path::new(ROOT).join(path)
            }
        };
        assert!(source.exists(), "COPY {path}: there is no such file");
        // The content of a folder is copied, not the folder itself.
        let dots = if source.is_dir() { "/." } else { "" };
        if source.is_dir() {
            fs::create_dir_all(&to).unwrap();
        }
        shell(
            &format!("cp -a '{}{dots}' '{}'", source.display(), to.display()),
            root,
            &[],
        );
    }
}

/// The top-level names in the build context: .dockerignore excludes `*`, with exceptions.
fn build_context() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(".dockerignore")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(
        lines.next(),
        Some("*"),
        ".dockerignore keeps everything away at first"
    );
    lines
        .map(|line| line.strip_prefix('!').unwrap().to_owned())
        .collect()
}

/// RUN, with stubs for cargo and apt-get.
fn run(rest: &str, directory: &Path, folder: &Path) {
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).unwrap();
    install_stub(&tools, "apt-get", STUB_APT_GET);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    if let Ok(profile) = std::env::var("SLUICE_TEST_IMAGE_BUILD") {
        let target = Path::new(ROOT).join("target/image");
        let target = target.to_str().unwrap();
        let settings = [
            ("PATH", &*path),
            ("PROFILE", &*profile),
            ("CARGO_TARGET_DIR", target),
        ];
        return shell(rest, directory, &settings);
    }
    install_stub(&tools, "cargo", STUB_CARGO);
    let target = folder.join("target");
    let settings = [
        ("PATH", &*path),
        ("PROFILE", "dev"),
        ("CARGO", env!("CARGO")),
        ("PROGRAM", env!("CARGO_BIN_EXE_sluice")),
        ("CARGO_TARGET_DIR", target.to_str().unwrap()),
    ];
    shell(rest, directory, &settings);
}

fn install_stub(tools: &Path, name: &str, text: &str) {
    fs::write(tools.join(name), text).unwrap();
    fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn shell(line: &str, directory: &Path, settings: &[(&str, &str)]) {
    let done = Command::new("sh")
        .args(["-euc", line])
        .current_dir(directory)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{line}: {said}");
}

/// Changes the owner of a folder and its content.
pub fn change_owner(folder: &Path, user: u32) {
    chown(folder, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => change_owner(&path, user),
            false => chown(&path, Some(user), Some(user)).unwrap(),
        }
    }
}
