use tonic::{Request, Response};

use super::messages::{read_get_usage, read_list_usage};
use crate::{
    auth::Sealer,
    database::Database,
    domain::{Usage, now},
    error::Result,
    proto::v1 as pb,
    repositories::{Projects, Quotas, UsageRecords},
    services::{
        fields::{Fields, read_organization, timestamp},
        paging::PageTokens,
        rpc::{implement_service, tenant},
    },
};

/// The service for usage.
#[derive(Debug)]
pub struct UsageService {
    records: UsageRecords,
    quotas: Quotas,
    projects: Projects,
    page_tokens: PageTokens,
}

impl UsageService {
    /// The service of a database.
    pub fn new(database: Database, sealer: Sealer) -> Self {
        Self {
            records: UsageRecords::new(database.clone()),
            quotas: Quotas::new(database.clone()),
            projects: Projects::new(database),
            page_tokens: PageTokens::new(sealer),
        }
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>> {
        let own = tenant(&request)?;
        let (tenant, filter) = read_get_usage(request.into_inner(), own, now())?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;
        let usage = self.records.total(tenant, filter).await?;
        if usage == Usage::default() {
            self.records.require_known(tenant, filter).await?;
        }

        Ok(Response::new(pb::GetUsageResponse {
            usage: Some(usage.into()),
            start_time: Some(timestamp(filter.start_time)),
        }))
    }

    async fn get_quota(
        &self,
        request: Request<pb::GetQuotaRequest>,
    ) -> Result<Response<pb::GetQuotaResponse>> {
        let own = tenant(&request)?;
        let id = &request.get_ref().organization_id;
        let tenant = Fields::read_all(|fields| read_organization(fields, own, id))?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;
        let (quota, used) = self.quotas.get(tenant, now()).await?;

        Ok(Response::new(pb::GetQuotaResponse {
            quota: Some(quota.into()),
            used: Some(used.into()),
        }))
    }

    async fn list_usage(
        &self,
        request: Request<pb::ListUsageRequest>,
    ) -> Result<Response<pb::ListUsageResponse>> {
        let own = tenant(&request)?;
        let message = request.into_inner();
        let (tenant, filter, list) = read_list_usage(message, own, &self.page_tokens)?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;
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
        rpc get_quota(pb::GetQuotaRequest) -> pb::GetQuotaResponse;
    }
}
