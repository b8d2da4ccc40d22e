//! Conversions of refusals.

use crate::{
    domain::{ProjectId, Refusal, RefusalReason, Tenant},
    error::Error,
    proto::v1 as pb,
    services::{
        fields::{Fields, timestamp},
        paging::{PageRequest, PageTokens},
    },
};

pub(super) struct ListRefusals {
    pub project_id: ProjectId,
    pub list: PageRequest,
}

impl ListRefusals {
    pub fn read(
        message: pb::ListRefusalsRequest,
        tenant: Tenant,
        page_tokens: &PageTokens,
    ) -> Result<Self, Error> {
        let pb::ListRefusalsRequest {
            project_id,
            page_size,
            page_token,
        } = message;
        let mut fields = Fields::default();
        let project_id = fields.read("project_id", ProjectId::parse(&project_id));
        let list = format!("refusals/{tenant:?}/{project_id:?}");
        let list = page_tokens.read(&mut fields, list, page_size, &page_token);
        let (Some(project_id), Some(list)) = (project_id, list) else {
            return Err(fields.into_error());
        };
        Ok(Self { project_id, list })
    }
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            id: _,
            create_time,
            reason,
            node_id,
            peer_prefix,
        } = refusal;
        let reason = match reason {
            RefusalReason::StreamKeyInvalid => pb::ErrorReason::StreamKeyInvalid,
            RefusalReason::PublishConflict => pb::ErrorReason::PublishConflict,
            RefusalReason::ProjectDisabled => pb::ErrorReason::ProjectDisabled,
            RefusalReason::PublishHeld => pb::ErrorReason::PublishHeld,
        };
        Self {
            create_time: Some(timestamp(create_time)),
            reason: reason.into(),
            node_id,
            peer_prefix,
        }
    }
}
