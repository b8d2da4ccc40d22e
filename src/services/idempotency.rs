use uuid::Uuid;

use crate::{auth::Sealer, repositories::IdempotencyKey};

/// The identity of a create with a `request_id`, of which `asked` tells what was asked for.
pub(super) fn once(
    owner_id: Uuid,
    request_id: Uuid,
    method: &'static str,
    asked: &[u8],
    sealer: &Sealer,
) -> IdempotencyKey {
    let fingerprints = sealer.digests(method, asked).collect();
    IdempotencyKey {
        owner_id,
        request_id,
        method,
        fingerprints,
    }
}
