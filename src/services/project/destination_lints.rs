//! Advice about destinations that were saved.

use crate::{
    auth::{AssociatedData, Sealer},
    domain::{Destination, DestinationId, DestinationLint, IngestUrl, Secret, UrlPolicy},
    proto::v1 as pb,
    repositories::SealedTarget,
};

/// The lints of a destination with this sealed key among the destinations of its project. Without
/// the key it is not compared with them.
pub(super) fn lints(
    destination: &Destination,
    key_sealed: Option<&[u8]>,
    targets: &[SealedTarget],
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Vec<pb::DestinationLint> {
    let mut lints = DestinationLint::of_url(destination.platform, &destination.url, policy);
    let duplicate = key_sealed.and_then(|key| find_duplicate(destination, key, targets, sealer));
    lints.extend(duplicate.map(DestinationLint::duplicate_of));
    lints.into_iter().map(Into::into).collect()
}

/// Another destination with the same address and key.
fn find_duplicate(
    destination: &Destination,
    key_sealed: &[u8],
    targets: &[SealedTarget],
    sealer: &Sealer,
) -> Option<DestinationId> {
    let url = IngestUrl::saved(&destination.url).ok()?;
    let mut others = targets.iter().filter(|other| {
        let address = IngestUrl::saved(&other.url);
        other.id != destination.id && address.is_ok_and(|address| address.is_same_ingest(&url))
    });
    let first = others.next()?;
    let key = open_key(destination.id, key_sealed, sealer)?;
    std::iter::once(first)
        .chain(others)
        .find(|other| open_key(other.id, &other.stream_key_sealed, sealer).as_ref() == Some(&key))
        .map(|other| other.id)
}

/// Opens a key. One that cannot be opened is nobody's duplicate.
fn open_key(id: DestinationId, sealed: &[u8], sealer: &Sealer) -> Option<Secret> {
    let opened = sealer.open_text(&AssociatedData::destination_key(id), sealed);
    opened
        .inspect_err(|error| {
            let error = error.with_causes();
            tracing::warn!(destination_id = %id, error, "cannot compare a stream key");
        })
        .ok()
}
