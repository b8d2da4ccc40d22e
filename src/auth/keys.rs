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

/// The name of the file of the secret that signs access tokens.
const JWT_SECRET_FILE: &str = "jwt.secret";

/// The shortest secret for HS256, in bytes (RFC 7518 section 3.2).
const MIN_JWT_SECRET_BYTES: usize = 32;

/// The settings of the keys.
pub struct KeySettings {
    /// The secret that signs access tokens.
    pub jwt_secret: Option<Secret>,
    /// The files of private keys that sign access tokens instead.
    pub jwt_key_files: Vec<PathBuf>,
    /// The root keys that seal secrets at rest.
    pub sealing_keys: Vec<Zeroizing<[u8; 32]>>,
    /// The directory for generated keys; `None` if none may be generated.
    pub generate_in: Option<PathBuf>,
}

/// The key rings of this server. A clone shares them.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keys that sign access tokens.
    pub signing: SigningKeys,
    /// The keys that seal secrets at rest.
    pub sealer: Sealer,
    /// The file of the key that seals, unless the settings have keys.
    pub(super) sealing_key_file: Option<PathBuf>,
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
        // The sealing key is generated first: a directory with only the other secret has lost it.
        let sealer = sealer(settings);
        let signing = signing_keys(settings)?;
        let (sealer, sealing_key_file) = sealer?;
        Ok(Self {
            signing,
            sealer,
            sealing_key_file,
        })
    }
}

fn signing_keys(settings: &KeySettings) -> Result<SigningKeys, LoadKeysError> {
    if let Some(secret) = &settings.jwt_secret {
        return Ok(SigningKeys::from_secret(secret));
    }
    if settings.jwt_key_files.is_empty() {
        let path = generated_path("SLUICE_JWT_SECRET", JWT_SECRET_FILE, settings)?;
        let secret = read_or_generate("SLUICE_JWT_SECRET", &path)?;
        let secret = parse_jwt_secret(secret.expose()).map_err(|error| {
            anyhow::anyhow!("jwt.secret in the data directory {error}; restore it or remove it")
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

/// The sealer, and the file of its key if there is one.
fn sealer(settings: &KeySettings) -> Result<(Sealer, Option<PathBuf>), LoadKeysError> {
    if !settings.sealing_keys.is_empty() {
        return Ok((Sealer::new(&settings.sealing_keys), None));
    }
    let path = generated_path("SLUICE_SEALING_KEYS", "sealing.key", settings)?;
    let other = path.with_file_name(JWT_SECRET_FILE);
    if !path.exists() && other.exists() {
        // A new key would open nothing of what the lost one has sealed.
        return Err(LoadKeysError::KeyFile(anyhow::anyhow!(
            "{} is missing, but {} is there, so the directory was used before: restore the file, \
             or set SLUICE_SEALING_KEYS; if nothing is sealed with it, remove jwt.secret too",
            path.display(),
            other.display()
        )));
    }
    let text = read_or_generate("SLUICE_SEALING_KEYS", &path)?;
    let key = parse_sealing_key(text.expose()).map_err(|error| {
        anyhow::anyhow!("sealing.key in the data directory {error}; restore it")
    })?;
    Ok((Sealer::new(&[key]), Some(path)))
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

/// The path of a secret in the data directory, instead of a setting.
fn generated_path(
    setting: &'static str,
    file: &str,
    settings: &KeySettings,
) -> Result<PathBuf, LoadKeysError> {
    match &settings.generate_in {
        Some(directory) => Ok(directory.join(file)),
        None => Err(LoadKeysError::Setting(format!(
            "{setting} must be set in production"
        ))),
    }
}

/// Reads a secret from a file of the data directory; generates a missing file.
fn read_or_generate(setting: &'static str, path: &Path) -> Result<Secret, LoadKeysError> {
    if !path.exists() {
        generate_file(path).with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(path = %path.display(), setting, "generated a secret, because it is not set");
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

/// Writes a new secret atomically to a file that only its owner can read.
fn generate_file(path: &Path) -> anyhow::Result<()> {
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
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(cause.into()),
        _ => Ok(()),
    }
}
