//! Conversions between the messages of destinations and the domain.

use prost::Message;

use crate::{
    auth::{AssociatedData, Sealer},
    domain::{
        Destination, DestinationId, DestinationUpdate, IngestUrl, Invalid, Name, ProjectId,
        StreamTarget, UrlPolicy, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{IdempotencyKey, SealedDestination},
    services::{
        enums::read_enum,
        fields::{Fields, idempotency_key, read_request_id, timestamp},
    },
};

pub(super) struct UpdateDestination {
    pub id: DestinationId,
    pub update: DestinationUpdate,
}

/// Reads the destination to create, with its key sealed.
pub(super) fn read_create_destination(
    message: pb::CreateDestinationRequest,
    owner: UserId,
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Result<(SealedDestination, Option<IdempotencyKey>), Error> {
    let content = message.encode_to_vec();
    let pb::CreateDestinationRequest {
        project_id,
        platform,
        name,
        url,
        stream_key,
        enabled,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let project_id = fields.read("project_id", ProjectId::parse(&project_id));
        let platform = fields.read("platform", read_enum(platform));
        let name = fields.read("name", Name::parse(&name));
        let stream_key = fields.read("stream_key", StreamTarget::parse_key(&stream_key));
        let request_id = fields.read("request_id", read_request_id(&request_id));
        let url = StreamTarget::parse_url(&url, policy).and_then(|url| match (url, platform) {
            (None, Some(platform)) => StreamTarget::own_url(platform, policy).map(Some),
            (url, _) => Ok(url),
        });
        let url = fields.read("url", url).flatten();
        let target = match StreamTarget::new(platform?, url?, stream_key?) {
            Ok(target) => target,
            Err((field, invalid)) => return fields.read(field, Err(invalid)),
        };

        let id = DestinationId::generate();
        let destination = SealedDestination {
            id,
            project_id: project_id?,
            platform: target.platform,
            name: name?.as_str().to_owned(),
            url: target.url.as_str().to_owned(),
            stream_key_sealed: Some(sealer.seal(
                &AssociatedData::destination_key(id),
                target.stream_key.expose().as_bytes(),
            )),
            stream_key_hint: target.key_hint(),
            enabled: enabled.unwrap_or(true),
        };
        let idempotency = request_id?
            .map(|id| idempotency_key(owner.uuid(), id, "CreateDestination", &content, sealer));
        Some((destination, idempotency))
    })
}

impl UpdateDestination {
    pub fn read(message: pb::UpdateDestinationRequest, policy: &UrlPolicy) -> Result<Self, Error> {
        let pb::UpdateDestinationRequest {
            destination_id,
            platform,
            name,
            url,
            stream_key,
            enabled,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("destination_id", DestinationId::parse(&destination_id));
            let platform = fields.read_optional("platform", platform.map(read_enum));
            let name = fields.read_optional("name", name.map(|name| Name::parse(&name)));
            let stream_key = stream_key.map(|key| StreamTarget::parse_key(&key));
            let stream_key = fields.read_optional("stream_key", stream_key);
            let url = url.map(|url| StreamTarget::parse_url(&url, policy));
            let url = fields.read_optional("url", url);
            let update = DestinationUpdate {
                platform: platform?,
                name: name?,
                url: url?,
                stream_key: stream_key?,
                enabled,
            };
            Some(Self { id: id?, update })
        })
    }

    /// Applies the update. If the platform, address or key changes, they are checked together.
    ///
    /// A key that callers cannot read must not be sent to another server either. So it has to be given
    /// again with another platform or server.
    pub fn apply(
        self,
        before: &Destination,
        key_before: Vec<u8>,
        sealer: &Sealer,
        policy: &UrlPolicy,
    ) -> Result<SealedDestination, Error> {
        let DestinationUpdate {
            platform,
            name,
            url,
            stream_key,
            enabled,
        } = self.update;
        let mut after = SealedDestination {
            id: before.id,
            project_id: before.project_id,
            platform: before.platform,
            name: name.map_or_else(|| before.name.clone(), |name| name.as_str().to_owned()),
            url: before.url.clone(),
            stream_key_sealed: None,
            stream_key_hint: before.stream_key_hint.clone(),
            enabled: enabled.unwrap_or(before.enabled),
        };
        if platform.is_none() && url.is_none() && stream_key.is_none() {
            return Ok(after);
        }

        let mut fields = Fields::default();
        let associated_data = AssociatedData::destination_key(before.id);
        let platform = platform.unwrap_or(before.platform);
        let url = match url {
            Some(Some(url)) => Ok(url),
            None if platform == before.platform => IngestUrl::parse(&before.url, policy),
            // An address belongs to its platform, and is dropped with another platform.
            None | Some(None) => StreamTarget::own_url(platform, policy),
        };
        let url = fields.read("url", url);
        let is_same_server = platform == before.platform
            && url
                .as_ref()
                .is_none_or(|url| url.is_same_server(&before.url));
        let is_new_key = stream_key.is_some();
        let stream_key = match stream_key {
            Some(key) => Some(key),
            None if is_same_server => Some(sealer.open_text(&associated_data, &key_before)?),
            None => {
                let requirement = "must be given again with another platform or server";
                fields.read("stream_key", Err(Invalid::because(requirement)))
            }
        };
        let (Some(url), Some(stream_key)) = (url, stream_key) else {
            return Err(fields.into_error());
        };
        let target = StreamTarget::new(platform, url, stream_key)
            .map_err(|(field, invalid)| Error::invalid(field, invalid.0))?;

        after.platform = target.platform;
        after.url = target.url.as_str().to_owned();
        let key = target.stream_key.expose().as_bytes();
        after.stream_key_sealed = is_new_key.then(|| sealer.seal(&associated_data, key));
        after.stream_key_hint = target.key_hint();
        Ok(after)
    }
}

impl From<Destination> for pb::Destination {
    fn from(destination: Destination) -> Self {
        let Destination {
            id,
            project_id,
            platform,
            name,
            url,
            stream_key_hint,
            enabled,
            create_time,
            update_time,
        } = destination;
        Self {
            id: id.to_string(),
            project_id: project_id.to_string(),
            platform: pb::Platform::from(platform).into(),
            name,
            url,
            stream_key_hint,
            enabled,
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::UpdateDestination;
    use crate::{
        auth::Sealer,
        domain::{
            Destination, DestinationId, DestinationUpdate, Platform, ProjectId, UrlPolicy, now,
        },
    };

    /// A key rotation may seal the key again before the update is written.
    #[test]
    fn an_update_of_other_fields_does_not_write_the_stream_key() {
        let id = DestinationId::generate();
        let before = Destination {
            id,
            project_id: ProjectId::generate(),
            platform: Platform::Youtube,
            name: "Main channel".to_owned(),
            url: "rtmps://a.rtmps.youtube.com/live2".to_owned(),
            stream_key_hint: "qrst".to_owned(),
            enabled: true,
            create_time: now(),
            update_time: now(),
        };
        let update = DestinationUpdate {
            enabled: Some(false),
            ..DestinationUpdate::default()
        };
        let sealer = Sealer::new(&[Zeroizing::new([7; 32])]);
        let after = UpdateDestination { id, update }
            .apply(
                &before,
                b"sealed before".to_vec(),
                &sealer,
                &UrlPolicy::default(),
            )
            .unwrap();

        assert_eq!(after.stream_key_sealed, None);
    }
}
