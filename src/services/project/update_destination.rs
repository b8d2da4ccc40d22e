//! Reads UpdateDestination and applies it to the destination as it is.

use prost::Message;

use crate::{
    auth::{AssociatedData, Sealer},
    domain::{
        Destination, DestinationId, DestinationUpdate, IngestUrl, Invalid, Name, Scheme, Secret,
        SrtEncryption, StreamTarget, UrlPolicy, UserId, parse_max_height, parse_max_video_bitrate,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{ChangeOptions, SealedChange, SealedDestination, StoredDestination},
    services::{
        enums::read_enum,
        fields::{Fields, read_etag, read_idempotency},
        project::destination_messages::{
            of_platform, read_delay, read_encryption, seal_passphrase,
        },
    },
};

/// An update, and the destination that it changes.
pub(super) struct UpdateDestination {
    pub id: DestinationId,
    pub update: DestinationUpdate,
    pub options: ChangeOptions,
}

impl UpdateDestination {
    pub fn read(
        message: pb::UpdateDestinationRequest,
        user: UserId,
        sealer: &Sealer,
        policy: &UrlPolicy,
    ) -> Result<Self, Error> {
        let content = message.encode_to_vec();
        let pb::UpdateDestinationRequest {
            destination_id,
            platform,
            display_name,
            url,
            stream_key,
            disabled,
            srt_passphrase,
            srt_pbkeylen,
            delay,
            max_video_bitrate_kbps,
            max_height,
            allows_second_connection,
            etag,
            request_id,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("destination_id", DestinationId::parse(&destination_id));
            let platform = fields.read_optional("platform", platform.map(read_enum));
            let display_name = display_name.map(|name| Name::parse(&name));
            let display_name = fields.read_optional("display_name", display_name);
            let stream_key = stream_key.map(|key| StreamTarget::parse_key(&key));
            let stream_key = fields.read_optional("stream_key", stream_key);
            let url = url.map(|url| StreamTarget::parse_url(&url, policy));
            let url = fields.read_optional("url", url);
            let passphrase = srt_passphrase.map(|text| SrtEncryption::parse_passphrase(&text));
            let srt_passphrase = fields.read_optional("srt_passphrase", passphrase);
            let pbkeylen = srt_pbkeylen.map(SrtEncryption::parse_pbkeylen);
            let srt_pbkeylen = fields.read_optional("srt_pbkeylen", pbkeylen);
            let delay = fields.read_optional("delay", delay.map(read_delay));
            let bitrate = max_video_bitrate_kbps.map(parse_max_video_bitrate);
            let bitrate = fields.read_optional("max_video_bitrate_kbps", bitrate);
            let max_height = max_height.map(parse_max_height);
            let max_height = fields.read_optional("max_height", max_height);
            let method = "UpdateDestination";
            let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
            let update = DestinationUpdate {
                platform: platform?,
                display_name: display_name?,
                url: url?,
                stream_key: stream_key?,
                disabled,
                srt_passphrase: srt_passphrase?,
                srt_pbkeylen: srt_pbkeylen?,
                delay: delay?,
                max_video_bitrate_kbps: bitrate?,
                max_height: max_height?,
                allows_second_connection,
            };
            let options = ChangeOptions {
                etag: read_etag(etag),
                idempotency: idempotency?,
            };
            Some(Self {
                id: id?,
                update,
                options,
            })
        })
    }

    /// Applies the update. If it changes where or how streams are sent, all of that is checked
    /// together; a saved address that it does not change is not checked again.
    ///
    /// Secrets that callers cannot read must not be used with another server either. So they have
    /// to be given again with another platform or server.
    pub fn apply(
        self,
        before: &StoredDestination,
        sealer: &Sealer,
        policy: &UrlPolicy,
    ) -> Result<SealedDestination, Error> {
        let changes_target = self.update.changes_target();
        let mut after = unchanged(&before.destination);
        if let Some(name) = &self.update.display_name {
            name.as_str().clone_into(&mut after.display_name);
        }
        after.disabled = self.update.disabled.unwrap_or(after.disabled);
        after.delay = self.update.delay.unwrap_or(after.delay);
        let bitrate = self.update.max_video_bitrate_kbps;
        after.max_video_bitrate_kbps = bitrate.unwrap_or(after.max_video_bitrate_kbps);
        after.max_height = self.update.max_height.unwrap_or(after.max_height);
        let allows = self.update.allows_second_connection;
        after.allows_second_connection = allows.unwrap_or(after.allows_second_connection);
        if !changes_target {
            return Ok(after);
        }

        let is_new_key = self.update.stream_key.is_some();
        let is_new_passphrase = self.update.srt_passphrase.is_some();
        let target = self.target(before, sealer, policy)?;
        after.platform = target.platform;
        after.url = target.url.as_str().to_owned();
        after.stream_key_hint = target.key_hint();
        if is_new_key {
            let associated_data = AssociatedData::destination_key(after.id);
            let key = target.stream_key.expose().as_bytes();
            after.stream_key_sealed = Some(sealer.seal(&associated_data, key));
        }
        after.srt_passphrase = match &target.srt_encryption {
            None => SealedChange::Clear,
            Some(new) if is_new_passphrase => seal_passphrase(after.id, &new.passphrase, sealer),
            Some(_) => SealedChange::Keep,
        };
        after.srt_pbkeylen = target.srt_encryption.map_or(0, |new| new.pbkeylen);
        Ok(after)
    }

    /// Where and how streams are sent after the update.
    fn target(
        self,
        before: &StoredDestination,
        sealer: &Sealer,
        policy: &UrlPolicy,
    ) -> Result<StreamTarget, Error> {
        let Destination {
            platform: old_platform,
            url: old_url,
            srt_pbkeylen: old_pbkeylen,
            ..
        } = &before.destination;
        let mut fields = Fields::default();
        let platform = self.update.platform.unwrap_or(*old_platform);
        let url = match self.update.url {
            Some(Some(url)) => of_platform(platform, url),
            None if platform == *old_platform => IngestUrl::saved(old_url),
            // An address belongs to its platform, and is dropped with another platform.
            None | Some(None) => StreamTarget::own_url(platform, policy),
        };
        let url = fields.read("url", url);
        let is_same_server =
            platform == *old_platform && url.as_ref().is_none_or(|url| url.is_same_server(old_url));
        let is_srt = url.as_ref().is_none_or(|url| url.scheme() == Scheme::Srt);

        let stream_key = match self.update.stream_key {
            None if is_same_server => Ok(open_stream_key(before, sealer)?),
            key => key.ok_or_else(|| {
                Invalid::because("must be given again with another platform or server")
            }),
        };
        let stream_key = fields.read("stream_key", stream_key);
        let passphrase = match self.update.srt_passphrase {
            Some(passphrase) => Ok(passphrase),
            None if before.srt_passphrase_sealed.is_none() || !is_srt => Ok(None),
            None if is_same_server => Ok(open_srt_passphrase(before, sealer)?),
            None => Err(Invalid::because(
                "must be given again, or empty, with another platform or server",
            )),
        };
        let passphrase = fields.read("srt_passphrase", passphrase);
        let encryption = passphrase.and_then(|passphrase| {
            let kept = passphrase.as_ref().map_or(0, |_| *old_pbkeylen);
            let pbkeylen = self.update.srt_pbkeylen.unwrap_or(kept);
            read_encryption(&mut fields, passphrase, pbkeylen)
        });
        let (Some(url), Some(stream_key), Some(encryption)) = (url, stream_key, encryption) else {
            return Err(fields.into_error());
        };
        StreamTarget::new(platform, url, stream_key, encryption)
            .map_err(|(field, invalid)| Error::invalid(field, invalid.0))
    }
}

/// A destination as it is, with its stored secrets.
fn unchanged(before: &Destination) -> SealedDestination {
    SealedDestination {
        id: before.id,
        project_id: before.project_id,
        platform: before.platform,
        display_name: before.display_name.clone(),
        url: before.url.clone(),
        stream_key_sealed: None,
        stream_key_hint: before.stream_key_hint.clone(),
        disabled: before.disabled,
        srt_passphrase: SealedChange::Keep,
        srt_pbkeylen: before.srt_pbkeylen,
        delay: before.delay,
        max_video_bitrate_kbps: before.max_video_bitrate_kbps,
        max_height: before.max_height,
        allows_second_connection: before.allows_second_connection,
    }
}

fn open_stream_key(stored: &StoredDestination, sealer: &Sealer) -> Result<Secret, Error> {
    let associated_data = AssociatedData::destination_key(stored.destination.id);
    sealer.open_text(&associated_data, &stored.stream_key_sealed)
}

fn open_srt_passphrase(
    stored: &StoredDestination,
    sealer: &Sealer,
) -> Result<Option<Secret>, Error> {
    let associated_data = AssociatedData::srt_passphrase(stored.destination.id);
    let sealed = stored.srt_passphrase_sealed.as_deref();
    sealed
        .map(|sealed| sealer.open_text(&associated_data, sealed))
        .transpose()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::UpdateDestination;
    use crate::{
        auth::Sealer,
        domain::{
            Destination, DestinationId, DestinationUpdate, Platform, ProjectId, StreamDelay,
            UrlPolicy, now,
        },
        repositories::{ChangeOptions, StoredDestination},
    };

    /// A key rotation may seal the key again before the update is written.
    #[test]
    fn an_update_of_other_fields_does_not_write_the_stream_key() {
        let id = DestinationId::generate();
        let before = Destination {
            id,
            project_id: ProjectId::generate(),
            platform: Platform::Youtube,
            display_name: "Main channel".to_owned(),
            url: "rtmps://a.rtmps.youtube.com/live2".to_owned(),
            stream_key_hint: "qrst".to_owned(),
            disabled: false,
            has_srt_passphrase: false,
            srt_pbkeylen: 0,
            delay: StreamDelay::default(),
            max_video_bitrate_kbps: 0,
            max_height: 0,
            allows_second_connection: false,
            create_time: now(),
            update_time: now(),
        };
        let update = DestinationUpdate {
            disabled: Some(true),
            ..DestinationUpdate::default()
        };
        let sealer = Sealer::new(&[Zeroizing::new([7; 32])]);
        let before = StoredDestination {
            destination: before,
            stream_key_sealed: b"sealed before".to_vec(),
            srt_passphrase_sealed: None,
        };
        let after = UpdateDestination {
            id,
            update,
            options: ChangeOptions::default(),
        }
        .apply(&before, &sealer, &UrlPolicy::default())
        .unwrap();

        assert_eq!(after.stream_key_sealed, None);
    }
}
