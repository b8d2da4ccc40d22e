//! Conversions between the messages of destinations and the domain.

use std::time::Duration;

use prost::Message;

use crate::{
    auth::{AssociatedData, Sealer},
    domain::{
        Destination, DestinationId, DestinationLint, IngestUrl, Invalid, ListFilter, Name,
        Platform, ProjectId, Secret, SrtEncryption, StreamDelay, StreamTarget, Tenant, UrlPolicy,
        UserId, parse_max_height, parse_max_video_bitrate,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{ChangeOptions, IdempotencyKey, SealedChange, SealedDestination},
    services::{
        enums::read_enum,
        fields::{
            Fields, duration, read_created, read_duration, read_etag, read_idempotency, timestamp,
        },
        paging::{PageRequest, PageTokens},
    },
};

/// A destination to create.
pub(super) struct CreateDestination {
    pub destination: SealedDestination,
    pub idempotency: Option<IdempotencyKey>,
}

/// Reads the destination to create, with its key sealed.
pub(super) fn read_create_destination(
    message: pb::CreateDestinationRequest,
    owner: UserId,
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Result<CreateDestination, Error> {
    let content = message.encode_to_vec();
    let pb::CreateDestinationRequest {
        project_id,
        platform,
        display_name,
        url,
        stream_key,
        disabled,
        request_id,
        srt_passphrase,
        srt_pbkeylen,
        delay,
        max_video_bitrate_kbps,
        max_height,
        allows_second_connection,
    } = message;
    Fields::read_all(|fields| {
        let project_id = fields.read("project_id", ProjectId::parse(&project_id));
        let platform = fields.read("platform", read_enum(platform));
        let display_name = fields.read("display_name", Name::parse(&display_name));
        let stream_key = fields.read("stream_key", StreamTarget::parse_key(&stream_key));
        let method = "CreateDestination";
        let idempotency = read_idempotency(fields, owner, &request_id, method, &content, sealer);
        let url = StreamTarget::parse_url(&url, policy).and_then(|url| match (url, platform) {
            (None, Some(platform)) => StreamTarget::own_url(platform, policy).map(Some),
            (Some(url), Some(platform)) => of_platform(platform, url).map(Some),
            (url, None) => Ok(url),
        });
        let url = fields.read("url", url).flatten();
        let passphrase = SrtEncryption::parse_passphrase(&srt_passphrase);
        let passphrase = fields.read("srt_passphrase", passphrase);
        let pbkeylen = fields.read("srt_pbkeylen", SrtEncryption::parse_pbkeylen(srt_pbkeylen));
        let delay = fields.read_optional("delay", delay.map(read_delay));
        let bitrate = parse_max_video_bitrate(max_video_bitrate_kbps);
        let bitrate = fields.read("max_video_bitrate_kbps", bitrate);
        let max_height = fields.read("max_height", parse_max_height(max_height));
        let encryption = read_encryption(fields, passphrase?, pbkeylen?);
        let target = match StreamTarget::new(platform?, url?, stream_key?, encryption?) {
            Ok(target) => target,
            Err((field, invalid)) => return fields.read(field, Err(invalid)),
        };

        let id = DestinationId::generate();
        let encryption = target.srt_encryption.as_ref();
        let destination = SealedDestination {
            id,
            project_id: project_id?,
            platform: target.platform,
            display_name: display_name?.as_str().to_owned(),
            url: target.url.as_str().to_owned(),
            stream_key_sealed: Some(sealer.seal(
                &AssociatedData::destination_key(id),
                target.stream_key.expose().as_bytes(),
            )),
            stream_key_hint: target.key_hint(),
            disabled,
            srt_passphrase: encryption.map_or(SealedChange::Clear, |encryption| {
                seal_passphrase(id, &encryption.passphrase, sealer)
            }),
            srt_pbkeylen: encryption.map_or(0, |encryption| encryption.pbkeylen),
            delay: delay?.unwrap_or_default(),
            max_video_bitrate_kbps: bitrate?,
            max_height: max_height?,
            allows_second_connection,
        };
        Some(CreateDestination {
            destination,
            idempotency: idempotency?,
        })
    })
}

/// Reads the project, the filter and the page of a list of destinations.
pub(super) fn read_list_destinations(
    message: &pb::ListDestinationsRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(ProjectId, ListFilter, PageRequest), Error> {
    Fields::read_all(|fields| {
        let project_id = fields.read("project_id", ProjectId::parse(&message.project_id));
        let created = read_created(fields, message.created_after, message.created_before);
        let filter = created.map(|created| ListFilter {
            disabled: message.disabled,
            created,
        });
        let filters = filter.map(|filter| filter.to_string()).unwrap_or_default();
        let list = format!("destinations/{tenant:?}/{project_id:?}{filters}");
        let list = page_tokens.read(fields, list, message.page_size, &message.page_token);
        Some((project_id?, filter?, list?))
    })
}

/// Reads the destination to delete.
pub(super) fn read_delete_destination(
    message: pb::DeleteDestinationRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(DestinationId, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::DeleteDestinationRequest {
        destination_id,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("destination_id", DestinationId::parse(&destination_id));
        let method = "DeleteDestination";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, options))
    })
}

/// An address that can be one of the platform.
pub(super) fn of_platform(platform: Platform, url: IngestUrl) -> Result<IngestUrl, Invalid> {
    platform.info().check_url(&url)?;
    Ok(url)
}

pub(super) fn read_delay(value: prost_types::Duration) -> Result<StreamDelay, Invalid> {
    let any = Duration::ZERO..=Duration::MAX;
    read_duration(Some(value), any, "must be 0 to 60 seconds").and_then(StreamDelay::parse)
}

/// The encryption with a passphrase. Without one there is no key to have a length.
pub(super) fn read_encryption(
    fields: &mut Fields,
    passphrase: Option<Secret>,
    pbkeylen: i32,
) -> Option<Option<SrtEncryption>> {
    match passphrase {
        Some(passphrase) => Some(Some(SrtEncryption {
            passphrase,
            pbkeylen,
        })),
        None if pbkeylen == 0 => Some(None),
        None => {
            let invalid = Invalid::because("must be 0 without srt_passphrase");
            fields.read("srt_pbkeylen", Err(invalid))
        }
    }
}

pub(super) fn seal_passphrase(
    id: DestinationId,
    passphrase: &Secret,
    sealer: &Sealer,
) -> SealedChange {
    let associated_data = AssociatedData::srt_passphrase(id);
    SealedChange::Set(sealer.seal(&associated_data, passphrase.expose().as_bytes()))
}

impl From<Destination> for pb::Destination {
    fn from(destination: Destination) -> Self {
        let etag = destination.etag();
        let Destination {
            id,
            project_id,
            platform,
            display_name,
            url,
            stream_key_hint,
            disabled,
            has_srt_passphrase,
            srt_pbkeylen,
            delay,
            max_video_bitrate_kbps,
            max_height,
            allows_second_connection,
            create_time,
            update_time,
        } = destination;
        Self {
            id: id.to_string(),
            project_id: project_id.to_string(),
            platform: pb::Platform::from(platform).into(),
            display_name,
            url,
            stream_key_hint,
            disabled,
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
            has_srt_passphrase,
            srt_pbkeylen,
            delay: Some(duration(delay.as_duration())),
            max_video_bitrate_kbps,
            max_height,
            allows_second_connection,
            etag,
        }
    }
}

impl From<DestinationLint> for pb::DestinationLint {
    fn from(lint: DestinationLint) -> Self {
        let DestinationLint {
            code,
            field,
            message,
        } = lint;
        Self {
            code: pb::DestinationLintCode::from(code).into(),
            field: field.to_owned(),
            message,
        }
    }
}
