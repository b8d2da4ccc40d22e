use tonic::{Request, Response};

use super::messages::{read_get_usage, read_list_usage};
use crate::{
    auth::Sealer,
    database::Database,
    domain::{Usage, now},
    error::Result,
    proto::v1 as pb,
    repositories::{Projects, UsageRecords},
    services::{
        fields::timestamp,
        paging::PageTokens,
        rpc::{implement_service, tenant},
    },
};

/// The service for usage.
#[derive(Debug)]
pub struct UsageService {
    projects: Projects,
    records: UsageRecords,
    page_tokens: PageTokens,
}

impl UsageService {
    /// The service of a database.
    pub fn new(database: Database, sealer: Sealer) -> Self {
        Self {
            projects: Projects::new(database.clone()),
            records: UsageRecords::new(database),
            page_tokens: PageTokens::new(sealer),
        }
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>> {
        let tenant = tenant(&request)?;
        let own = tenant.organization;
        let (tenant, filter) = read_get_usage(request.into_inner(), tenant, now())?;

        if tenant.organization != own {
            self.projects.require_organization(tenant).await?;
        }

        let usage = self.records.total(tenant, filter).await?;
        if usage == Usage::default() {
            self.records.require_known(tenant, filter).await?;
        }

        Ok(Response::new(pb::GetUsageResponse {
            usage: Some(usage.into()),
            start_time: Some(timestamp(filter.start_time)),
        }))
    }

    async fn list_usage(
        &self,
        request: Request<pb::ListUsageRequest>,
    ) -> Result<Response<pb::ListUsageResponse>> {
        let tenant = tenant(&request)?;
        let own = tenant.organization;
        let (tenant, filter, list) =
            read_list_usage(request.into_inner(), tenant, &self.page_tokens)?;

        if tenant.organization != own {
            self.projects.require_organization(tenant).await?;
        }

        let records = self.records.list(tenant, filter, list.page).await?;
        if records.is_empty() {
            self.records.require_known(tenant, filter).await?;
        }

        let (records, next_page_token) = self.page_tokens.page(&list, records, |row| row.id.uuid());
        Ok(Response::new(pb::ListUsageResponse {
            records,
            next_page_token,
        }))
    }
}

implement_service! {
    UsageService as pb::usage_service_server::UsageService {
        rpc get_usage(pb::GetUsageRequest) -> pb::GetUsageResponse;
        rpc list_usage(pb::ListUsageRequest) -> pb::ListUsageResponse;
    }
}
