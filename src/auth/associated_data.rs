use uuid::Uuid;

use crate::domain::{DestinationId, KeyPurpose, ProjectId, SessionId};

/// The associated data (AAD) of a sealed value: the table, column and row that hold it.
///
/// A sealed value that is moved to another row or column cannot be opened.
#[derive(Debug, Clone)]
pub struct AssociatedData(String);

impl AssociatedData {
    /// For the stream key of a project.
    pub fn stream_key(id: ProjectId) -> Self {
        Self(format!("projects/stream_key/{id}"))
    }

    /// For the stream key of a destination.
    pub fn destination_key(id: DestinationId) -> Self {
        Self(format!("destinations/stream_key/{id}"))
    }

    /// For the seed of a session's refresh tokens.
    pub fn refresh_seed(id: SessionId) -> Self {
        Self(format!("sessions/refresh_seed/{id}"))
    }

    /// For the URL from which a stream's media can be read.
    pub fn play_url(id: Uuid) -> Self {
        Self(format!("streams/play_url/{id}"))
    }

    /// For a key of the `keys` table.
    pub fn wrapped_key(purpose: KeyPurpose, id: &str) -> Self {
        Self(format!("keys/secret/{}/{id}", purpose.as_str()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
