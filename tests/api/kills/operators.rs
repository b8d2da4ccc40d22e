use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    caller::{Caller, PASSWORD},
    writer::Writer,
};

const SCOPE: &str = "operator:read";

/// The limits of suspended users.
const QUOTA: pb::Quota = pb::Quota {
    projects: Some(7),
    destinations: None,
    live_streams: None,
    stream_minutes: None,
    delivered_bytes: None,
    members: Some(6),
};

/// Creates and revokes operator keys; suspends and resumes users.
pub struct Operators {
    anonymous: Caller,
    /// Has the scopes `operator:read` and `operator:write`.
    operator: Caller,
    keys: Vec<Key>,
    users: Vec<User>,
}

/// The acknowledged state of an operator key.
struct Key {
    id: String,
    secret: String,
    access_token: String,
    is_revoked: bool,
}

/// The acknowledged state of a user, who was suspended at first.
struct User {
    user: pb::User,
    access_token: String,
    is_suspended: bool,
}

impl Operators {
    pub fn new(anonymous: &Caller, operator: &Caller) -> Self {
        Self {
            anonymous: anonymous.clone(),
            operator: operator.clone(),
            keys: Vec::new(),
            users: Vec::new(),
        }
    }

    async fn create_key(&self, number: usize) -> Key {
        let request = pb::CreateOperatorKeyRequest {
            display_name: format!("Operator {number}"),
            scopes: vec![SCOPE.to_owned()],
            request_id: uuid::Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let created = self
            .operator
            .write("CreateOperatorKey", async |mut client| {
                client.operator.create_operator_key(request.clone()).await
            })
            .await;
        let exchanged = self.anonymous.exchange_api_key(&created.secret).await;
        Key {
            id: created.operator_key.unwrap().id,
            secret: created.secret,
            access_token: exchanged.access_token,
            is_revoked: false,
        }
    }

    async fn revoke_key(&self, key: &mut Key) {
        let request = pb::RevokeOperatorKeyRequest {
            operator_key_id: key.id.clone(),
            include_created: false,
        };
        let revoked = self
            .operator
            .write("RevokeOperatorKey", async |mut client| {
                client.operator.revoke_operator_key(request.clone()).await
            })
            .await;
        assert!(revoked.operator_key.unwrap().revoke_time.is_some());
        key.is_revoked = true;
    }

    async fn suspend_user(&self, number: usize) -> User {
        let email = format!("suspended{number}@example.com");
        let (user, tokens) = self.anonymous.sign_up(&email).await;
        let request = pb::SuspendUserRequest {
            user_id: user.id.clone(),
        };
        let limits = pb::SetOrganizationQuotaRequest {
            organization_id: user.id.clone(),
            quota: Some(QUOTA),
        };
        self.operator
            .write("SetOrganizationQuota", async |mut client| {
                client.operator.set_organization_quota(limits.clone()).await
            })
            .await;
        self.operator
            .write("SuspendUser", async |mut client| {
                client.operator.suspend_user(request.clone()).await
            })
            .await;
        User {
            user,
            access_token: tokens.access_token,
            is_suspended: true,
        }
    }

    async fn resume_user(&self, user: &mut User) {
        self.assert_state(user).await;
        let request = pb::ResumeUserRequest {
            user_id: user.user.id.clone(),
        };
        self.operator
            .write("ResumeUser", async |mut client| {
                client.operator.resume_user(request.clone()).await
            })
            .await;
        user.is_suspended = false;
    }

    async fn assert_state(&self, user: &User) {
        let request = pb::GetUserRequest {
            user_id: user.user.id.clone(),
        };
        let answer = self
            .operator
            .read("GetUser", async |mut client| {
                client.operator.get_user(request.clone()).await
            })
            .await;
        let expected = match user.is_suspended {
            true => pb::UserState::Suspended,
            false => pb::UserState::Active,
        };
        assert_eq!(answer.user.unwrap().state(), expected);
    }

    async fn check_key(&self, key: &Key) {
        if !key.is_revoked {
            let exchanged = self.anonymous.exchange_api_key(&key.secret).await;
            assert_eq!(exchanged.scopes, [SCOPE]);
            return;
        }
        let request = pb::ExchangeApiKeyRequest {
            secret: key.secret.clone(),
        };
        let refusal = self
            .anonymous
            .refusal("ExchangeApiKey", async |mut client| {
                client.auth.exchange_api_key(request.clone()).await
            })
            .await;
        let expected = (Code::Unauthenticated, "API_KEY_INVALID");
        assert_eq!(refusal.class(), expected);
        let operator = self.anonymous.with_token(&key.access_token);
        operator.assert_token_is_refused().await;
    }

    async fn check_user(&self, user: &User) {
        self.assert_state(user).await;
        let request = pb::GetOrganizationQuotaRequest {
            organization_id: user.user.id.clone(),
        };
        let answer = self
            .operator
            .read("GetOrganizationQuota", async |mut client| {
                client
                    .operator
                    .get_organization_quota(request.clone())
                    .await
            })
            .await;
        assert_eq!(answer.quota, Some(QUOTA));
        let former = self.anonymous.with_token(&user.access_token);
        former.assert_token_is_refused().await;
        if !user.is_suspended {
            self.anonymous.sign_in(&user.user.email, PASSWORD).await;
            return;
        }
        let request = pb::SignInRequest {
            email: user.user.email.clone(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let refusal = self
            .anonymous
            .refusal("SignIn", async |mut client| {
                client.auth.sign_in(request.clone()).await
            })
            .await;
        let expected = (Code::PermissionDenied, "ACCOUNT_SUSPENDED");
        assert_eq!(refusal.class(), expected);
    }
}

impl Writer for Operators {
    async fn write(&mut self, number: usize) {
        let is_undone = number % 4 >= 2;
        if number.is_multiple_of(2) {
            let mut key = self.create_key(number).await;
            if is_undone {
                self.revoke_key(&mut key).await;
            }
            self.keys.push(key);
        } else {
            let mut user = self.suspend_user(number).await;
            if is_undone {
                self.resume_user(&mut user).await;
            }
            self.users.push(user);
        }
    }

    async fn check(&self) {
        for key in &self.keys {
            self.check_key(key).await;
        }
        for user in &self.users {
            self.check_user(user).await;
        }
    }
}
