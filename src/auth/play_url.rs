use uuid::Uuid;

use super::{AssociatedData, Sealer};
use crate::{
    domain::{PlayUrl, SealedPlayUrl},
    error::Result,
};

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
        Ok(Self(sealer.open_text(&aad, &sealed.sealed)?))
    }
}
