//! Where the secrets of this server come from: its settings, or in development
//! files in the data directory that are made once.

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
const MIN_SECRET: usize = 32;

/// What the settings say of the keys.
pub struct KeySettings {
    /// The secret of access tokens.
    pub jwt_secret: Option<Secret>,
    /// Instead of it, files with private keys.
    pub jwt_key_files: Vec<PathBuf>,
    /// The keys of secrets at rest.
    pub sealing_keys: Vec<Zeroizing<[u8; 32]>>,
    /// Where to keep what is made, if anything may be made.
    pub make_in: Option<PathBuf>,
}

/// The keys of this server. A clone shares the rings.
#[derive(Clone)]
pub struct Keys {
    /// For access tokens.
    pub signing: SigningKeys,
    /// For secrets at rest.
    pub sealer: Sealer,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// A setting names no usable key.
    #[error("{0}")]
    Setting(String),
    /// A file of the data directory cannot be read or made.
    #[error(transparent)]
    Files(#[from] anyhow::Error),
}

impl Keys {
    /// Takes the keys from the settings. What is not set is made once, and kept,
    /// if the settings allow it.
    pub fn load(settings: &KeySettings) -> Result<Self, LoadKeysError> {
        Ok(Self {
            signing: signing_keys(settings)?,
            sealer: sealer(settings)?,
        })
    }
}

fn signing_keys(settings: &KeySettings) -> Result<SigningKeys, LoadKeysError> {
    if let Some(secret) = &settings.jwt_secret {
        return Ok(SigningKeys::from_secret(secret));
    }
    if settings.jwt_key_files.is_empty() {
        let secret = kept("SLUICE_JWT_SECRET", "jwt.secret", settings)?;
        let secret = parse_jwt_secret(secret.expose()).map_err(|fault| {
            anyhow::anyhow!("jwt.secret in the data directory {fault}; restore it or remove it")
        })?;
        return Ok(SigningKeys::from_secret(&secret));
    }

    let wrong = |path: &Path, fault: &dyn Display| {
        let path = path.display();
        LoadKeysError::Setting(format!("SLUICE_JWT_KEY_FILES: {path} {fault}"))
    };
    let mut files = Vec::new();
    for path in &settings.jwt_key_files {
        let text = fs::read_to_string(path);
        let text = text.map_err(|cause| wrong(path, &format!("cannot be read: {cause}")))?;
        files.push(Secret::new(text));
    }
    SigningKeys::from_pem(&files).map_err(|at| {
        let path = &settings.jwt_key_files[at];
        wrong(path, &"must be an Ed25519 private key in PEM (PKCS #8)")
    })
}

fn sealer(settings: &KeySettings) -> Result<Sealer, LoadKeysError> {
    if !settings.sealing_keys.is_empty() {
        return Ok(Sealer::new(&settings.sealing_keys));
    }
    let text = kept("SLUICE_SEALING_KEYS", "sealing.key", settings)?;
    let key = parse_sealing_key(text.expose()).map_err(|fault| {
        anyhow::anyhow!("sealing.key in the data directory {fault}; restore it")
    })?;
    Ok(Sealer::new(&[key]))
}

/// Reads the secret of access tokens: at least 32 bytes.
pub fn parse_jwt_secret(text: &str) -> Result<Secret, &'static str> {
    match text.trim().len() {
        MIN_SECRET.. => Ok(Secret::new(text.trim())),
        _ => Err("must have at least 32 bytes"),
    }
}

/// Reads one sealing key: 32 bytes in base64.
pub fn parse_sealing_key(text: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| "must be base64")?);
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "must have 32 bytes")?;
    Ok(Zeroizing::new(key))
}

/// The secret in a file of the data directory, which is made if there is none.
fn kept(
    setting: &'static str,
    file: &str,
    settings: &KeySettings,
) -> Result<Secret, LoadKeysError> {
    let Some(directory) = &settings.make_in else {
        return Err(LoadKeysError::Setting(format!(
            "{setting} must be set in production"
        )));
    };
    let path = directory.join(file);
    if !path.exists() {
        make(&path).with_context(|| format!("cannot make {}", path.display()))?;
        tracing::info!(path = %path.display(), setting, "made a secret, because it is not set");
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

/// Makes a file with a new secret that nobody else can read, whole or not at all.
fn make(path: &Path) -> anyhow::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);

    let mut file = options.open(&draft)?;
    writeln!(file, "{}", STANDARD.encode(random_bytes::<32>()))?;
    file.sync_all()?;
    // Another process that starts now may have made it first: then its secret counts.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(cause.into()),
        _ => Ok(()),
    }
}
