use tokio::task_local;
use uuid::Uuid;

use crate::transport::Peer;

task_local! {
    static REQUESTER: Option<Requester>;
}

/// For whom database work is done. Requesters that wait for connections take turns, so that one
/// with many calls does not hold up the others. Work without one is preferred: that of media
/// servers, of relay workers and of the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requester {
    /// A user or an API key.
    Caller(Uuid),
    /// The peer of a caller who is not authenticated.
    Peer(Peer),
}

impl Requester {
    /// Does some work for a requester. Tasks that the work spawns are not part of it.
    pub async fn scope<F: Future>(requester: Option<Self>, work: F) -> F::Output {
        REQUESTER.scope(requester, work).await
    }

    /// For whom the current task works.
    pub fn current() -> Option<Self> {
        REQUESTER.try_with(|requester| *requester).ok().flatten()
    }
}
