use uuid::Uuid;

use super::{Place, Sealer};
use crate::{
    domain::{PlayUrl, SealedPlayUrl},
    error::Result,
};

impl PlayUrl {
    /// The address as it is kept with its stream.
    pub fn seal(&self, sealer: &Sealer) -> SealedPlayUrl {
        let id = Uuid::now_v7();
        SealedPlayUrl {
            id,
            sealed: sealer.seal(&Place::play_url(id), self.0.expose().as_bytes()),
        }
    }

    /// The address that was kept with a stream.
    pub fn unseal(sealed: &SealedPlayUrl, sealer: &Sealer) -> Result<Self> {
        let place = Place::play_url(sealed.id);
        Ok(Self(sealer.open_text(&place, &sealed.sealed)?))
    }
}
