//! The RPCs of usage.

use sluice::proto::v1 as pb;

use super::recorder::{Outcome::Succeeds, Recorder};

impl Recorder {
    pub async fn usage_rpcs(&mut self, token: &str) {
        let total = pb::GetUsageRequest::default();
        self.call::<()>(Succeeds, "UsageService/GetUsage", token, total)
            .await;
        let quota = pb::GetQuotaRequest::default();
        self.call::<()>(Succeeds, "UsageService/GetQuota", token, quota)
            .await;
        let list = pb::ListUsageRequest::default();
        self.call::<()>(Succeeds, "UsageService/ListUsage", token, list)
            .await;
    }
}
