use sluice::proto::v1 as pb;

use super::{
    caller::{Caller, PASSWORD},
    writer::Writer,
};

/// The password after a change.
const NEW_PASSWORD: &str = "seven angry badgers rowing";

/// Creates, changes and deletes accounts.
pub struct Accounts {
    anonymous: Caller,
    accounts: Vec<Account>,
}

/// The acknowledged state of an account.
struct Account {
    user: pb::User,
    access_token: String,
    state: State,
}

enum State {
    Created,
    Changed,
    Deleted,
}

impl Accounts {
    pub fn new(anonymous: &Caller) -> Self {
        Self {
            anonymous: anonymous.clone(),
            accounts: Vec::new(),
        }
    }

    /// Changes the name and the password.
    async fn change(&self, owner: &Caller, user: &mut pb::User) {
        self.assert_user(owner, user).await;
        "Grace".clone_into(&mut user.display_name);
        let request = pb::UpdateMeRequest {
            display_name: Some(user.display_name.clone()),
            ..Default::default()
        };
        owner
            .write("UpdateMe", async |mut client| {
                client.auth.update_me(request.clone()).await
            })
            .await;
        let request = pb::ChangePasswordRequest {
            current_password: PASSWORD.to_owned(),
            new_password: NEW_PASSWORD.to_owned(),
        };
        // The second time, the current password is wrong.
        let executed = ["CREDENTIALS_INVALID"];
        owner
            .write_once("ChangePassword", &executed, async |mut client| {
                client.auth.change_password(request.clone()).await
            })
            .await;
    }

    async fn delete(&self, owner: &Caller, user: &pb::User) {
        self.assert_user(owner, user).await;
        let request = pb::DeleteMeRequest {
            password: PASSWORD.to_owned(),
        };
        // Another program may not know yet that the session has ended, but finds no password.
        let executed = [
            "ACCESS_TOKEN_INVALID",
            "CREDENTIALS_INVALID",
            "RESOURCE_NOT_FOUND",
        ];
        owner
            .write_once("DeleteMe", &executed, async |mut client| {
                client.auth.delete_me(request.clone()).await
            })
            .await;
    }

    async fn assert_user(&self, owner: &Caller, user: &pb::User) {
        let answer = owner
            .read("GetMe", async |mut client| {
                client.auth.get_me(pb::GetMeRequest {}).await
            })
            .await;
        assert_eq!(answer.user.as_ref(), Some(user));
    }

    async fn assert_signs_in(&self, user: &pb::User, password: &str) {
        let (signed_in, _) = self.anonymous.sign_in(&user.email, password).await;
        let identity = |user: &pb::User| (user.id.clone(), user.display_name.clone());
        assert_eq!(identity(&signed_in), identity(user));
    }
}

impl Writer for Accounts {
    async fn write(&mut self, number: usize) {
        let email = format!("account{number}@example.com");
        let (mut user, tokens) = self.anonymous.sign_up(&email).await;
        let owner = self.anonymous.with_token(&tokens.access_token);
        let state = match number % 3 {
            0 => State::Created,
            1 => {
                self.change(&owner, &mut user).await;
                State::Changed
            }
            _ => {
                self.delete(&owner, &user).await;
                State::Deleted
            }
        };
        self.accounts.push(Account {
            user,
            access_token: tokens.access_token,
            state,
        });
    }

    async fn check(&self) {
        for account in &self.accounts {
            let user = &account.user;
            match account.state {
                State::Created => self.assert_signs_in(user, PASSWORD).await,
                State::Changed => {
                    self.assert_signs_in(user, NEW_PASSWORD).await;
                    let old = self
                        .anonymous
                        .assert_sign_in_is_refused(&user.email, PASSWORD);
                    old.await;
                }
                State::Deleted => {
                    let refused = self
                        .anonymous
                        .assert_sign_in_is_refused(&user.email, PASSWORD);
                    refused.await;
                    let owner = self.anonymous.with_token(&account.access_token);
                    owner.assert_token_is_refused().await;
                }
            }
        }
    }
}
