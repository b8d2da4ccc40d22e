//! The variables from which settings are read: those of the environment, then those of a `.env`
//! file.

use std::{
    collections::BTreeSet,
    env::{self, VarError},
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::env_file::{self, Assignment};

/// The variable that names the file to read instead of `.env`; `off` reads none.
pub(crate) const ENV_FILE: &str = "SLUICE_ENV_FILE";

/// The file that is read if it exists.
const DEFAULT_FILE: &str = ".env";

/// The prefix of all settings that other programs do not share.
const PREFIX: &str = "SLUICE_";

/// The beginnings of the names of variables for the project's own tests, benchmarks and scripts.
const DEVELOPMENT_PREFIXES: [&str; 4] = [
    "SLUICE_TEST_",
    "SLUICE_BENCH_",
    "SLUICE_CARGO",
    "SLUICE_CHECK_ADVISORIES",
];

/// The former names of settings, with their present ones. They have no effect.
const RENAMED: [(&str, &str); 1] = [("SLUICE_RELAY_PATIENCE", "SLUICE_RELAY_PROGRESS_TIMEOUT")];

/// The largest distance at which a name counts as a misspelling of another.
const MAX_DISTANCE: usize = 5;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The environment of the process.
    Environment,
    /// A line of a `.env` file.
    File { path: PathBuf, line: usize },
    /// It is not set.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The variables of this process. They have no `Debug`, because they contain secrets.
pub(crate) struct Variables {
    /// The names of all settings.
    known: BTreeSet<String>,
    file: PathBuf,
    assignments: Vec<Assignment>,
}

impl Variables {
    /// Reads the `.env` file. `known` are the names of all settings. Each error names the file, and
    /// the line if one is invalid.
    pub fn load(known: BTreeSet<String>) -> Result<Self, Vec<String>> {
        let named = env::var(ENV_FILE).map(|text| text.trim().to_owned());
        let (file, must_exist) = match named {
            Ok(off) if off == "off" => return Ok(Self::without_file(known)),
            Ok(path) if !path.is_empty() => (PathBuf::from(path), true),
            Ok(_) | Err(VarError::NotPresent) => (PathBuf::from(DEFAULT_FILE), false),
            Err(VarError::NotUnicode(_)) => {
                return Err(vec![format!("{ENV_FILE} must be a path in UTF-8, or off")]);
            }
        };
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| invalid(&file, "must be UTF-8"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::without_file(known));
            }
            Err(error) => {
                let reason = format!("cannot be read: {error}; {ENV_FILE} names another, or off");
                return Err(invalid(&file, &reason));
            }
        };
        let assignments = env_file::parse(&text).map_err(|lines| {
            let lines = lines.iter();
            let sentence = |line: &env_file::InvalidLine| in_line(&file, line.line, &line.reason);
            lines.map(sentence).collect::<Vec<_>>()
        })?;
        match assignments.iter().find(|one| one.name == ENV_FILE) {
            None => Ok(Self {
                known,
                file,
                assignments,
            }),
            Some(one) => {
                let reason = format!("{ENV_FILE} has an effect only in the environment");
                Err(vec![in_line(&file, one.line, &reason)])
            }
        }
    }

    /// The variables of the environment only. `known` are the names of all settings.
    pub fn without_file(known: BTreeSet<String>) -> Self {
        Self {
            known,
            file: PathBuf::new(),
            assignments: Vec::new(),
        }
    }

    /// The value of a variable, and where it is set. An empty value counts as not set.
    pub fn find(&self, name: &str) -> Option<(OsString, Source)> {
        if let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) {
            return Some((value, Source::Environment));
        }
        let mut assignments = self.assignments.iter();
        let found = assignments.find(|one| one.name == name && !one.value.is_empty())?;
        Some((OsString::from(&found.value), self.source(found)))
    }

    /// Warnings about the variables whose name begins like that of a setting, but is none.
    pub fn unknown(&self) -> Vec<String> {
        let in_environment = env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            );
            (!is_service_link(&name, &value)).then_some((name, Source::Environment))
        });
        let in_file = self.assignments.iter();
        let in_file = in_file.map(|one| (one.name.clone(), self.source(one)));
        let unknown = in_environment.chain(in_file).filter(|(name, _)| {
            name.starts_with(PREFIX)
                && !self.known.contains(name)
                && !DEVELOPMENT_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        });
        let warning = |(name, source): (String, Source)| match closest(&name, &self.known) {
            Some(other) => format!("{name} ({source}) is not a setting: did you mean {other}?"),
            None => format!("{name} ({source}) is not a setting"),
        };
        let mut warnings: Vec<_> = unknown.map(warning).collect();
        warnings.sort_unstable();
        warnings
    }

    fn source(&self, assignment: &Assignment) -> Source {
        Source::File {
            path: self.file.clone(),
            line: assignment.line,
        }
    }
}

/// Whether colours are unwanted (<https://no-color.org>).
pub(super) fn no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn invalid(file: &Path, reason: &str) -> Vec<String> {
    vec![format!("{} {reason}", file.display())]
}

fn in_line(file: &Path, line: usize, reason: &str) -> String {
    format!("{}, line {line}: {reason}", file.display())
}

fn closest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let renamed = RENAMED.iter().find(|(former, _)| *former == name);
    if let Some((_, present)) = renamed {
        return known.get(*present);
    }
    let distances = known
        .iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other));
    let (distance, other) = distances.min()?;
    (distance <= MAX_DISTANCE).then_some(other)
}

/// Whether Kubernetes or Docker made the variable for a service whose name begins with `sluice`,
/// such as `SLUICE_SERVICE_HOST` or `SLUICE_PORT_50051_TCP`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_protocol = |rest: &str| {
        let mut parts = rest.splitn(3, '_');
        let is_port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        is_port && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| is_protocol(rest))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{RENAMED, closest, is_service_link};

    #[rstest]
    #[case("SLUICE_SERVICE_HOST", "10.0.0.1", true)]
    #[case("SLUICE_SERVICE_PORT_GRPC", "50051", true)]
    #[case("SLUICE_HEADLESS_PORT", "tcp://10.0.0.1:50051", true)]
    #[case("SLUICE_PORT_50051_TCP", "tcp://10.0.0.1:50051", true)]
    #[case("SLUICE_PORT_50051_TCP_ADDR", "10.0.0.1", true)]
    #[case("SLUICE_PORT", "50051", false)]
    #[case("SLUICE_PORT_LISTEN", "50051", false)]
    fn variables_that_an_orchestrator_makes_for_a_service_are_recognized(
        #[case] name: &str,
        #[case] value: &str,
        #[case] is_link: bool,
    ) {
        assert_eq!(is_service_link(name, value), is_link);
    }

    #[test]
    fn the_closest_name_is_found_up_to_a_few_changes() {
        let known = ["SLUICE_LISTEN", "SLUICE_LOG"].map(String::from).into();

        let found = |name| closest(name, &known).map(String::as_str);
        assert_eq!(found("SLUICE_LISTN"), Some("SLUICE_LISTEN"));
        assert_eq!(found("SLUICE_LOGS"), Some("SLUICE_LOG"));
        assert_eq!(found("SLUICE_SOMETHING_ELSE"), None);
    }

    #[test]
    fn a_former_name_leads_to_the_present_one() {
        for (former, present) in RENAMED {
            let known = [present, former].map(String::from).into();
            assert_eq!(closest(former, &known).map(String::as_str), Some(present));
        }
    }
}
