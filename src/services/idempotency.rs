use uuid::Uuid;

use crate::{auth::Sealer, repositories::IdempotencyKey};

/// The idempotency key of a create. `request` is the content that a repetition must have too.
pub(super) fn idempotency_key(
    owner_id: Uuid,
    request_id: Uuid,
    method: &'static str,
    request: &[u8],
    sealer: &Sealer,
) -> IdempotencyKey {
    let fingerprints = sealer.digests(method, request).collect();
    IdempotencyKey {
        owner_id,
        request_id,
        method,
        fingerprints,
    }
}
