//! Where the secrets of this server come from: its settings, or in development
//! files in the data directory that are made once.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Sealer, SigningKeys, random::random_bytes};
use crate::{
    config::{Config, Environment, SigningSource},
    domain::Secret,
};

/// The keys of this server.
pub struct Keys {
    /// For access tokens.
    pub signing: SigningKeys,
    /// For secrets at rest.
    pub sealer: Sealer,
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
    /// Takes the keys from the settings. In development, what is not set is
    /// made once and kept in the data directory.
    pub fn load(config: &Config) -> Result<Self, LoadKeysError> {
        Ok(Self {
            signing: signing_keys(config)?,
            sealer: sealer(config)?,
        })
    }
}

fn signing_keys(config: &Config) -> Result<SigningKeys, LoadKeysError> {
    match config.signing() {
        SigningSource::Secret(secret) => Ok(SigningKeys::from_secret(secret)),
        SigningSource::KeyFiles(paths) => {
            let mut files = Vec::new();
            for path in paths {
                files.push(fs::read_to_string(path).map(Secret::new).map_err(|cause| {
                    let path = path.display();
                    LoadKeysError::Setting(format!(
                        "SLUICE_JWT_KEY_FILES: cannot read {path}: {cause}"
                    ))
                })?);
            }
            SigningKeys::from_pem(&files).map_err(|at| {
                LoadKeysError::Setting(format!(
                    "SLUICE_JWT_KEY_FILES: {} must be an Ed25519 private key in PEM (PKCS #8)",
                    paths[at].display(),
                ))
            })
        }
        SigningSource::Unset => {
            let secret = kept("SLUICE_JWT_SECRET", "jwt.secret", config)?;
            Ok(SigningKeys::from_secret(&secret))
        }
    }
}

fn sealer(config: &Config) -> Result<Sealer, LoadKeysError> {
    if !config.sealing_keys.is_empty() {
        return Ok(Sealer::new(&config.sealing_keys));
    }
    let text = kept("SLUICE_SEALING_KEYS", "sealing.key", config)?;
    let key = parse_sealing_key(text.expose())
        .map_err(|fault| anyhow::anyhow!("sealing.key in the data directory {fault}"))?;
    Ok(Sealer::new(&[key]))
}

/// Reads one sealing key: 32 bytes in base64.
pub fn parse_sealing_key(text: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| "must be base64")?);
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "must have 32 bytes")?;
    Ok(Zeroizing::new(key))
}

/// The secret in a file of the data directory, which is made if there is none.
fn kept(setting: &str, file: &str, config: &Config) -> Result<Secret, LoadKeysError> {
    if config.env == Environment::Production {
        return Err(LoadKeysError::Setting(format!(
            "{setting} must be set in production"
        )));
    }
    let path = config.data_dir.join(file);
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
