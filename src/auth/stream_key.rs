use super::{AssociatedData, Sealer};
use crate::{
    domain::{ProjectId, SealedStreamKey, Secret, StreamKey},
    error::Result,
    random::{hex, random_bytes, sha256},
};

impl StreamKey {
    /// A new key: 160 random bits.
    pub fn generate() -> Self {
        Self(Secret::new(format!("sk_{}", hex(&random_bytes::<20>()))))
    }

    /// The SHA-256 hash by which it is found.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.expose())
    }

    /// Seals the key for its project's row.
    pub fn seal(&self, project_id: ProjectId, sealer: &Sealer) -> SealedStreamKey {
        SealedStreamKey {
            hash: self.hash(),
            sealed: sealer.seal(
                &AssociatedData::stream_key(project_id),
                self.0.expose().as_bytes(),
            ),
            hint: self.hint(),
        }
    }

    /// Opens the sealed key of a project.
    pub fn unseal(sealed: &[u8], project_id: ProjectId, sealer: &Sealer) -> Result<Self> {
        Ok(Self(sealer.open_text(
            &AssociatedData::stream_key(project_id),
            sealed,
        )?))
    }
}
