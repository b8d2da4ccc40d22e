//! The commands for operators that call OperatorService.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use tonic::Status;
use uuid::Uuid;

use super::{
    admin_client::{OperatorClient, with_client},
    admin_tables::{TableRow, print_table},
    error::CommandError,
    settings::resolve,
};
use crate::{
    config::{
        OperatorConfig, Settings,
        parse::{duration, not_empty},
    },
    proto::v1 as pb,
};

/// The largest page of a list.
const MAX_PAGE_SIZE: i32 = 200;

/// Commands for operators that call a server. They need an operator key.
#[derive(Subcommand)]
pub(super) enum ApiCommand {
    /// Create an operator key, and print its secret.
    CreateOperatorKey {
        /// `streams:publish` for media servers, `relays:work` for relay workers, `operator:read`
        /// and `operator:write` for operators; repeatable.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// The name of the key: 1 to 100 characters.
        #[arg(long)]
        name: String,
        /// The media server that the key is bound to. It then reports, and gets relays, for this
        /// one only.
        #[arg(long, default_value = "")]
        node_id: String,
        /// The time after which the key expires; without it the key never does.
        #[arg(long, value_parser = duration("1min", "3650days"))]
        expire_after: Option<Duration>,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List operator keys.
    ListOperatorKeys {
        /// Only keys in this state.
        #[arg(long)]
        state: Option<KeyState>,
        /// Only keys that are bound to this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// Revoke an operator key: it is refused everywhere within 5 seconds.
    RevokeOperatorKey {
        /// The id of the key, as `list-operator-keys` shows it.
        key_id: String,
        /// Revoke also all keys that were created with this key: for a leaked one.
        #[arg(long)]
        include_created: bool,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List the accounts of users.
    ListUsers {
        /// Only the account with this e-mail address, case-insensitive.
        #[arg(long, default_value = "")]
        email: String,
        /// Only suspended accounts.
        #[arg(long)]
        suspended: bool,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// Show the account of a user.
    GetUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// Suspend the account of a user: its sessions, API keys, streams and relays end within 5
    /// seconds.
    SuspendUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// End the suspension of an account.
    ResumeUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List the media servers that have reported.
    ListNodes {
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List the relay workers.
    ListWorkers {
        /// Only workers of this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List the streams of all users that have not ended.
    ListLiveStreams {
        /// Only streams of this user.
        #[arg(long, default_value = "")]
        user_id: String,
        /// Only streams at this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
    /// List the audit events of all users and operator keys.
    ListAuditEvents {
        /// Only events of this user's account.
        #[arg(long, default_value = "")]
        user_id: String,
        /// Only events in which this operator key acted.
        #[arg(long, default_value = "")]
        key_id: String,
        /// Only this action, for example `SuspendUser`.
        #[arg(long, default_value = "")]
        action: String,
        /// Only events of this time until now, for example `24h`.
        #[arg(long, value_parser = duration("1s", "3650days"))]
        since: Option<Duration>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        settings: Settings<OperatorConfig>,
    },
}

/// The most rows of a list.
#[derive(Args, Clone, Copy)]
pub(super) struct Limit {
    /// The most rows to print, newest first.
    #[arg(long = "limit", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows: u32,
}

/// A user, by id or address.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct UserArgument {
    /// The id of the user.
    #[arg(long, value_parser = not_empty)]
    user_id: Option<String>,
    /// The e-mail address of the user's account, case-insensitive.
    #[arg(long, value_parser = not_empty)]
    email: Option<String>,
}

/// The state of an operator key.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum KeyState {
    /// It can be used.
    Active,
    /// Its expiry has passed.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Runs a command that calls a server.
pub(super) fn run(command: ApiCommand) -> Result<(), CommandError> {
    match command {
        ApiCommand::CreateOperatorKey {
            scopes,
            name,
            node_id,
            expire_after,
            settings,
        } => {
            let request = pb::CreateOperatorKeyRequest {
                display_name: name,
                scopes,
                expire_time: expire_after.map(|after| (SystemTime::now() + after).into()),
                node_id,
                request_id: Uuid::now_v7().to_string(),
            };
            with_client(&resolve(settings)?, async |mut client| {
                let created = client.create_operator_key(request).await?.into_inner();
                println!("{}", created.secret);
                Ok(())
            })
        }
        ApiCommand::ListOperatorKeys {
            state,
            node_id,
            limit,
            settings,
        } => with_client(&resolve(settings)?, async |client| {
            let state = state.map_or(0, |state| pb::OperatorKeyState::from(state).into());
            list(limit, async |page_size, page_token| {
                let request = pb::ListOperatorKeysRequest {
                    state,
                    node_id: node_id.clone(),
                    page_size,
                    page_token,
                };
                let answer = client.clone().list_operator_keys(request).await?;
                let answer = answer.into_inner();
                Ok((answer.operator_keys, answer.next_page_token))
            })
            .await
        }),
        ApiCommand::RevokeOperatorKey {
            key_id,
            include_created,
            settings,
        } => with_client(&resolve(settings)?, async |mut client| {
            let request = pb::RevokeOperatorKeyRequest {
                operator_key_id: key_id,
                include_created,
            };
            let revoked = client.revoke_operator_key(request).await?.into_inner();
            println!("{} keys revoked", revoked.revoked_key_ids.len());
            Ok(())
        }),
        ApiCommand::ListUsers {
            email,
            suspended,
            limit,
            settings,
        } => with_client(&resolve(settings)?, async |client| {
            let state = match suspended {
                true => pb::UserState::Suspended,
                false => pb::UserState::Unspecified,
            };
            list(limit, async |page_size, page_token| {
                let request = pb::ListUsersRequest {
                    email: email.clone(),
                    state: state.into(),
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let answer = client.clone().list_users(request).await?.into_inner();
                Ok((answer.users, answer.next_page_token))
            })
            .await
        }),
        ApiCommand::GetUser { user, settings } => {
            with_client(&resolve(settings)?, async |mut client| {
                let user_id = user.id(&mut client).await?;
                let request = pb::GetUserRequest { user_id };
                let answer = client.get_user(request).await?.into_inner();
                print_table(answer.user.as_slice());
                Ok(())
            })
        }
        ApiCommand::SuspendUser { user, settings } => {
            with_client(&resolve(settings)?, async |mut client| {
                let user_id = user.id(&mut client).await?;
                let request = pb::SuspendUserRequest { user_id };
                let answer = client.suspend_user(request).await?.into_inner();
                print_table(answer.user.as_slice());
                Ok(())
            })
        }
        ApiCommand::ResumeUser { user, settings } => {
            with_client(&resolve(settings)?, async |mut client| {
                let user_id = user.id(&mut client).await?;
                let request = pb::ResumeUserRequest { user_id };
                let answer = client.resume_user(request).await?.into_inner();
                print_table(answer.user.as_slice());
                Ok(())
            })
        }
        ApiCommand::ListNodes { limit, settings } => {
            with_client(&resolve(settings)?, async |client| {
                list(limit, async |page_size, page_token| {
                    let request = pb::ListNodesRequest {
                        page_size,
                        page_token,
                        ..Default::default()
                    };
                    let answer = client.clone().list_nodes(request).await?.into_inner();
                    Ok((answer.nodes, answer.next_page_token))
                })
                .await
            })
        }
        ApiCommand::ListWorkers {
            node_id,
            limit,
            settings,
        } => with_client(&resolve(settings)?, async |client| {
            list(limit, async |page_size, page_token| {
                let request = pb::ListWorkersRequest {
                    node_id: node_id.clone(),
                    page_size,
                    page_token,
                };
                let answer = client.clone().list_workers(request).await?.into_inner();
                Ok((answer.workers, answer.next_page_token))
            })
            .await
        }),
        ApiCommand::ListLiveStreams {
            user_id,
            node_id,
            limit,
            settings,
        } => with_client(&resolve(settings)?, async |client| {
            list(limit, async |page_size, page_token| {
                let request = pb::ListLiveStreamsRequest {
                    user_id: user_id.clone(),
                    node_id: node_id.clone(),
                    page_size,
                    page_token,
                };
                let answer = client.clone().list_live_streams(request).await?;
                let answer = answer.into_inner();
                Ok((answer.live_streams, answer.next_page_token))
            })
            .await
        }),
        ApiCommand::ListAuditEvents {
            user_id,
            key_id,
            action,
            since,
            limit,
            settings,
        } => with_client(&resolve(settings)?, async |client| {
            let after = since.and_then(|since| SystemTime::now().checked_sub(since));
            let created_after = after.map(Timestamp::from);
            list(limit, async |page_size, page_token| {
                let request = pb::OperatorServiceListAuditEventsRequest {
                    user_id: user_id.clone(),
                    operator_key_id: key_id.clone(),
                    action: action.clone(),
                    created_after,
                    created_before: None,
                    page_size,
                    page_token,
                };
                let answer = client.clone().list_audit_events(request).await?;
                let answer = answer.into_inner();
                Ok((answer.audit_events, answer.next_page_token))
            })
            .await
        }),
    }
}

/// Reads the pages of a list up to a limit, and prints them. `call` gets the size and the token of
/// a page, and returns its rows and the token of the next one.
async fn list<R: TableRow>(
    limit: Limit,
    call: impl AsyncFn(i32, String) -> Result<(Vec<R>, String), Status>,
) -> Result<(), Status> {
    let limit = usize::try_from(limit.rows).unwrap_or(usize::MAX);
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let missing = i32::try_from(limit - rows.len()).unwrap_or(MAX_PAGE_SIZE);
        let (page, next) = call(missing.min(MAX_PAGE_SIZE), token).await?;
        rows.extend(page);
        token = next;
        if token.is_empty() || rows.len() >= limit {
            break;
        }
    }
    print_table(&rows);
    if !token.is_empty() {
        eprintln!("there are more: raise --limit");
    }
    Ok(())
}

impl UserArgument {
    /// The id of the user.
    async fn id(&self, client: &mut OperatorClient) -> Result<String, Status> {
        if let Some(id) = &self.user_id {
            return Ok(id.clone());
        }
        let request = pb::ListUsersRequest {
            email: self.email.clone().unwrap_or_default(),
            ..Default::default()
        };
        let found = client.list_users(request).await?.into_inner();
        let user = found.users.into_iter().next().and_then(|found| found.user);
        user.map(|user| user.id)
            .ok_or_else(|| crate::error::Error::not_found("account with this address", "").into())
    }
}

impl From<KeyState> for pb::OperatorKeyState {
    fn from(state: KeyState) -> Self {
        match state {
            KeyState::Active => Self::Active,
            KeyState::Expired => Self::Expired,
            KeyState::Revoked => Self::Revoked,
        }
    }
}
