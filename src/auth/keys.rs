//! The keys of this server. They come from its settings, or in development from files
//! that it generates once in the data directory.

use std::{
    fmt::Display,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Sealer, SigningKeys};
use crate::{domain::Secret, random::random_bytes};

/// The shortest secret for HS256, in bytes (RFC 7518 section 3.2).
const MIN_JWT_SECRET_BYTES: usize = 32;

/// The file of a generated secret that signs access tokens.
const JWT_SECRET_FILE: &str = "jwt.secret";

/// The file of a generated key that seals.
const SEALING_KEY_FILE: &str = "sealing.key";

/// The settings of the keys.
pub struct KeySettings {
    /// The secret that signs access tokens.
    pub jwt_secret: Option<Secret>,
    /// The files of private keys that sign access tokens instead.
    pub jwt_key_files: Vec<PathBuf>,
    /// The root keys that seal secrets at rest.
    pub sealing_keys: Vec<Zeroizing<[u8; 32]>>,
    /// The directory of generated keys; `None` if keys come from the settings only.
    pub directory: Option<PathBuf>,
    /// What happens if a key is neither in the settings nor in the directory.
    pub missing: MissingKeys,
}

/// What happens if a key is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKeys {
    /// It is generated in the directory.
    Generate,
    /// The keys cannot be loaded.
    Refuse,
}

/// Where the root key that seals comes from.
#[derive(Debug, Clone)]
pub(super) enum SealingKeySource {
    /// The settings.
    Settings,
    /// A file that was there.
    File(PathBuf),
    /// A file that this process has generated.
    Generated(PathBuf),
}

/// The key rings of this server. A clone shares them.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keys that sign access tokens.
    pub signing: SigningKeys,
    /// The keys that seal secrets at rest.
    pub sealer: Sealer,
    /// Where the root key comes from.
    pub(super) sealing_key_source: SealingKeySource,
}

/// Why the keys cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// A setting has no usable key.
    #[error("{0}")]
    Setting(String),
    /// A file of the data directory cannot be read or written.
    #[error(transparent)]
    KeyFile(#[from] anyhow::Error),
}

impl Keys {
    /// Loads the keys from the settings. A missing key is generated once if the settings
    /// allow it.
    pub fn load(settings: &KeySettings) -> Result<Self, LoadKeysError> {
        let signing = signing_keys(settings)?;
        let (sealer, sealing_key_source) = sealer(settings)?;
        Ok(Self {
            signing,
            sealer,
            sealing_key_source,
        })
    }
}

impl KeySettings {
    /// The files that [`Keys::load`] would generate.
    pub fn files_to_generate(&self) -> Vec<PathBuf> {
        let (Some(directory), MissingKeys::Generate) = (&self.directory, self.missing) else {
            return Vec::new();
        };
        let has_signing_key = self.jwt_secret.is_some() || !self.jwt_key_files.is_empty();
        let files = [
            (JWT_SECRET_FILE, has_signing_key),
            (SEALING_KEY_FILE, !self.sealing_keys.is_empty()),
        ];
        let files = files.iter().filter(|(_, is_set)| !is_set);
        let files = files.map(|(file, _)| directory.join(file));
        files.filter(|file| !file.exists()).collect()
    }
}

fn signing_keys(settings: &KeySettings) -> Result<SigningKeys, LoadKeysError> {
    if let Some(secret) = &settings.jwt_secret {
        return Ok(SigningKeys::from_secret(secret));
    }
    if settings.jwt_key_files.is_empty() {
        let file = read_or_generate("SLUICE_JWT_SECRET", JWT_SECRET_FILE, settings)?;
        let secret = parse_jwt_secret(file.text.expose()).map_err(|error| {
            let path = file.path.display();
            anyhow::anyhow!("{path} {error}; restore it or remove it")
        })?;
        return Ok(SigningKeys::from_secret(&secret));
    }

    let invalid_file = |path: &Path, error: &dyn Display| {
        let path = path.display();
        LoadKeysError::Setting(format!("SLUICE_JWT_KEY_FILES: {path} {error}"))
    };
    let mut files = Vec::new();
    for path in &settings.jwt_key_files {
        let text = fs::read_to_string(path);
        let text = text.map_err(|cause| invalid_file(path, &format!("cannot be read: {cause}")))?;
        files.push(Secret::new(text));
    }
    SigningKeys::from_pem(&files).map_err(|at| {
        let path = &settings.jwt_key_files[at];
        invalid_file(path, &"must be an Ed25519 private key in PEM (PKCS #8)")
    })
}

fn sealer(settings: &KeySettings) -> Result<(Sealer, SealingKeySource), LoadKeysError> {
    if !settings.sealing_keys.is_empty() {
        let sealer = Sealer::new(&settings.sealing_keys);
        return Ok((sealer, SealingKeySource::Settings));
    }
    let file = read_or_generate("SLUICE_SEALING_KEYS", SEALING_KEY_FILE, settings)?;
    let key = parse_sealing_key(file.text.expose())
        .map_err(|error| anyhow::anyhow!("{} {error}; restore it", file.path.display()))?;
    let source = match file.generated {
        true => SealingKeySource::Generated(file.path),
        false => SealingKeySource::File(file.path),
    };
    Ok((Sealer::new(&[key]), source))
}

/// Whether a secret of any length has so little variety that it was not made at random: less
/// than 100 bits, counted from the frequencies of the bytes in its shortest period.
pub fn is_guessable(secret: &[u8]) -> bool {
    const MIN_ENTROPY: f64 = 100.0;
    let repeats = |period: &usize| {
        secret
            .iter()
            .skip(*period)
            .eq(&secret[..secret.len() - period])
    };
    let period = (1..=secret.len()).find(repeats).unwrap_or_default();
    let mut counts = [0_u32; 256];
    for byte in &secret[..period] {
        counts[usize::from(*byte)] += 1;
    }
    let length = period as f64;
    let counts = counts.into_iter().filter(|count| *count > 0).map(f64::from);
    let entropy: f64 = counts.map(|count| count * (length / count).log2()).sum();
    entropy < MIN_ENTROPY
}

/// Parses the secret that signs access tokens: at least 32 bytes.
pub fn parse_jwt_secret(text: &str) -> Result<Secret, &'static str> {
    match text.trim().len() {
        MIN_JWT_SECRET_BYTES.. => Ok(Secret::new(text.trim())),
        _ => Err("must have at least 32 bytes"),
    }
}

/// Parses a sealing key: 32 bytes in base64.
pub fn parse_sealing_key(text: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| "must be base64")?);
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "must have 32 bytes")?;
    Ok(Zeroizing::new(key))
}

/// A secret in a file of the directory of keys.
struct SecretFile {
    path: PathBuf,
    text: Secret,
    generated: bool,
}

/// Reads a secret from a file of the directory; generates a missing file if the settings allow it.
fn read_or_generate(
    setting: &'static str,
    file: &str,
    settings: &KeySettings,
) -> Result<SecretFile, LoadKeysError> {
    let Some(directory) = &settings.directory else {
        return Err(LoadKeysError::Setting(format!(
            "{setting} must be set in production"
        )));
    };
    let path = directory.join(file);
    let mut generated = false;
    if !path.exists() {
        if settings.missing == MissingKeys::Refuse {
            return Err(LoadKeysError::Setting(format!(
                "SLUICE_DATA_DIR must be the data directory of the server: {} does not exist; or \
                 set {setting}",
                path.display()
            )));
        }
        generated =
            generate_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(path = %path.display(), setting, "generated a secret, because it is not set");
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(SecretFile {
        path,
        text: Secret::trimmed(&text),
        generated,
    })
}

/// Writes a new secret atomically to a file that only its owner can read. Returns false if another
/// process was faster.
fn generate_file(path: &Path) -> anyhow::Result<bool> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);

    let mut file = options.open(&draft)?;
    writeln!(file, "{}", STANDARD.encode(random_bytes::<32>()))?;
    file.sync_all()?;
    // Another process that starts now may have been first: its file is used.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_guessable;

    #[rstest]
    #[case(&"a".repeat(40), true)]
    #[case(&"ab".repeat(40), true)]
    #[case(&"change-me ".repeat(20), true)]
    #[case("00000000000000000000000000000001", true)]
    #[case("0123456789abcdef0123456789abcdef", true)]
    #[case("", true)]
    #[case("c1f0a9e6b37d58422e6b1d07f98a3c54", false)]
    #[case("H2vQm8sWJr0xK1ZpYbT6cNfEuLg3RiDa", false)]
    #[case("a sentence of forty-eight characters is accepted", false)]
    fn a_secret_without_variety_is_guessable(#[case] secret: &str, #[case] expected: bool) {
        assert_eq!(is_guessable(secret.as_bytes()), expected);
    }

    #[test]
    fn random_keys_are_not_guessable() {
        for _ in 0..1000 {
            assert!(!is_guessable(&crate::random::random_bytes::<32>()));
        }
    }
}
