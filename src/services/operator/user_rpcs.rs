use tonic::{Request, Response};

use super::{
    messages::read_list_users,
    service::{OperatorService, operator_audit},
};
use crate::{
    auth::Caller,
    domain::{UserId, now},
    error::Result,
    proto::v1 as pb,
    services::fields::read_id,
};

/// The RPCs for users.
impl OperatorService {
    pub(super) async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (filter, list) = read_list_users(request.into_inner(), caller, &self.page_tokens)?;

        let users = self.users.list(&filter, list.page).await?;

        let (users, next_page_token) = self
            .page_tokens
            .page(&list, users, |account| account.user.id.uuid());
        Ok(Response::new(pb::ListUsersResponse {
            users,
            next_page_token,
        }))
    }

    pub(super) async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>> {
        Caller::of(&request)?.operator_key()?;
        let id = read_id("user_id", &request.get_ref().user_id)?;

        let account = self.users.get(id).await?;

        let user = Some(account.into());
        Ok(Response::new(pb::GetUserResponse { user }))
    }

    pub(super) async fn suspend_user(
        &self,
        request: Request<pb::SuspendUserRequest>,
    ) -> Result<Response<pb::SuspendUserResponse>> {
        let audit = operator_audit(&request, "SuspendUser")?;
        let id: UserId = read_id("user_id", &request.get_ref().user_id)?;
        let now = now();

        let audit = audit.with_user(id);
        let ended = self.users.suspend(id, &audit, now).await?;
        self.revocations.add(ended, now);
        let account = self.users.get(id).await?;

        let user = Some(account.into());
        Ok(Response::new(pb::SuspendUserResponse { user }))
    }

    pub(super) async fn resume_user(
        &self,
        request: Request<pb::ResumeUserRequest>,
    ) -> Result<Response<pb::ResumeUserResponse>> {
        let audit = operator_audit(&request, "ResumeUser")?;
        let id: UserId = read_id("user_id", &request.get_ref().user_id)?;

        self.users.resume(id, &audit.with_user(id), now()).await?;
        let account = self.users.get(id).await?;

        let user = Some(account.into());
        Ok(Response::new(pb::ResumeUserResponse { user }))
    }
}
