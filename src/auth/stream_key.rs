//! The stream key of a project and the play URL of a stream, sealed for their rows.

use uuid::Uuid;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{PlayUrl, ProjectId, SealedPlayUrl, SealedStreamKey, Secret, StreamKey},
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
        let aad = AssociatedData::stream_key(project_id);
        SealedStreamKey {
            hash: self.hash(),
            sealed: sealer.seal(&aad, self.0.expose().as_bytes()),
            hint: self.hint(),
        }
    }

    /// Opens the sealed key of a project.
    pub fn unseal(sealed: &[u8], project_id: ProjectId, sealer: &Sealer) -> Result<Self> {
        let aad = AssociatedData::stream_key(project_id);
        sealer.open_text(&aad, sealed).map(Self)
    }
}

impl PlayUrl {
    /// Seals the URL for its stream's row.
    pub fn seal(&self, sealer: &Sealer) -> SealedPlayUrl {
        let id = Uuid::now_v7();
        SealedPlayUrl {
            id,
            sealed: sealer.seal(&AssociatedData::play_url(id), self.0.expose().as_bytes()),
        }
    }

    /// Opens the sealed URL of a stream.
    pub fn unseal(sealed: &SealedPlayUrl, sealer: &Sealer) -> Result<Self> {
        let aad = AssociatedData::play_url(sealed.id);
        sealer.open_text(&aad, &sealed.sealed).map(Self)
    }
}
