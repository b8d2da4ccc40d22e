//! The commands for operators that call OperatorService.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use prost_types::Timestamp;
use uuid::Uuid;

use super::{
    admin_client::{ApiOptions, OperatorSession, run_with},
    admin_tables as tables,
    error::CommandError,
};
use crate::{
    client::{ClientError, ExitClass, Limit},
    config::parse::{duration, not_empty},
    proto::v1 as pb,
};

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
        options: ApiOptions,
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
        options: ApiOptions,
    },
    /// Revoke an operator key: it is refused everywhere within 5 seconds.
    RevokeOperatorKey {
        /// The id of the key, as `list-operator-keys` shows it.
        key_id: String,
        /// Revoke also all keys that were created with this key: for a leaked one.
        #[arg(long)]
        include_created: bool,
        #[command(flatten)]
        options: ApiOptions,
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
        options: ApiOptions,
    },
    /// Show the account of a user.
    GetUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// Suspend the account of a user: its sessions, API keys, streams and relays end within 5
    /// seconds.
    SuspendUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// End the suspension of an account.
    ResumeUser {
        #[command(flatten)]
        user: UserArgument,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// List the media servers that have reported.
    ListNodes {
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// List the relay workers.
    ListWorkers {
        /// Only workers of this media server.
        #[arg(long, default_value = "")]
        node_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
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
        options: ApiOptions,
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
        options: ApiOptions,
    },
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
            options,
        } => {
            let request = pb::CreateOperatorKeyRequest {
                display_name: name,
                scopes,
                expire_time: expire_after.map(|after| (SystemTime::now() + after).into()),
                node_id,
                request_id: Uuid::now_v7().to_string(),
            };
            run_with(options, async |session| create_key(session, request).await)
        }
        ApiCommand::ListOperatorKeys {
            state,
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_keys(session, state, &node_id, &limit).await
        }),
        ApiCommand::RevokeOperatorKey {
            key_id,
            include_created,
            options,
        } => {
            let request = pb::RevokeOperatorKeyRequest {
                operator_key_id: key_id,
                include_created,
            };
            run_with(options, async |session| revoke_key(session, request).await)
        }
        ApiCommand::ListUsers {
            email,
            suspended,
            limit,
            options,
        } => run_with(options, async |session| {
            list_users(session, &email, suspended, &limit).await
        }),
        ApiCommand::GetUser { user, options } => {
            run_with(options, async |session| get_user(session, &user).await)
        }
        ApiCommand::SuspendUser { user, options } => {
            run_with(options, async |session| suspend_user(session, &user).await)
        }
        ApiCommand::ResumeUser { user, options } => {
            run_with(options, async |session| resume_user(session, &user).await)
        }
        ApiCommand::ListNodes { limit, options } => {
            run_with(options, async |session| list_nodes(session, &limit).await)
        }
        ApiCommand::ListWorkers {
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_workers(session, &node_id, &limit).await
        }),
        ApiCommand::ListLiveStreams {
            user_id,
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_live_streams(session, &user_id, &node_id, &limit).await
        }),
        ApiCommand::ListAuditEvents {
            user_id,
            key_id,
            action,
            since,
            limit,
            options,
        } => {
            let after = since.and_then(|since| SystemTime::now().checked_sub(since));
            let filter = pb::OperatorServiceListAuditEventsRequest {
                user_id,
                operator_key_id: key_id,
                action,
                created_after: after.map(Timestamp::from),
                ..Default::default()
            };
            run_with(options, async |session| {
                list_audit_events(session, &filter, &limit).await
            })
        }
    }
}

async fn create_key(
    session: &OperatorSession,
    request: pb::CreateOperatorKeyRequest,
) -> Result<(), ClientError> {
    let created = session.call(request, async |mut api, request| {
        api.create_operator_key(request).await
    });
    let created = created.await?;
    session.output().print_text(&created, &created.secret)
}

async fn list_keys(
    session: &OperatorSession,
    state: Option<KeyState>,
    node_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let state = state.map_or(0, |state| pb::OperatorKeyState::from(state).into());
    let keys = limit.list(async |page_size, page_token| {
        let request = pb::ListOperatorKeysRequest {
            state,
            node_id: node_id.to_owned(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.list_operator_keys(request).await
        });
        let page = page.await?;
        Ok((page.operator_keys, page.next_page_token))
    });
    let answer = pb::ListOperatorKeysResponse {
        operator_keys: keys.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListOperatorKeysResponse| tables::keys(&answer.operator_keys);
    session.output().print(&answer, table)
}

async fn revoke_key(
    session: &OperatorSession,
    request: pb::RevokeOperatorKeyRequest,
) -> Result<(), ClientError> {
    let revoked = session.call(request, async |mut api, request| {
        api.revoke_operator_key(request).await
    });
    let revoked = revoked.await?;
    let text = format!("{} keys revoked", revoked.revoked_key_ids.len());
    session.output().print_text(&revoked, &text)
}

async fn list_users(
    session: &OperatorSession,
    email: &str,
    is_suspended: bool,
    limit: &Limit,
) -> Result<(), ClientError> {
    let state = match is_suspended {
        true => pb::UserState::Suspended,
        false => pb::UserState::Unspecified,
    };
    let users = limit.list(async |page_size, page_token| {
        let request = pb::ListUsersRequest {
            email: email.to_owned(),
            state: state.into(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_users(request).await
        });
        let page = page.await?;
        Ok((page.users, page.next_page_token))
    });
    let answer = pb::ListUsersResponse {
        users: users.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListUsersResponse| tables::users(&answer.users);
    session.output().print(&answer, table)
}

async fn get_user(session: &OperatorSession, user: &UserArgument) -> Result<(), ClientError> {
    let user_id = user.id(session).await?;
    let request = pb::GetUserRequest { user_id };
    let answer = session.call(request, async |mut api, request| {
        api.get_user(request).await
    });
    let table = |answer: &pb::GetUserResponse| tables::users(answer.user.as_slice());
    session.output().print(&answer.await?, table)
}

async fn suspend_user(session: &OperatorSession, user: &UserArgument) -> Result<(), ClientError> {
    let user_id = user.id(session).await?;
    let request = pb::SuspendUserRequest { user_id };
    let answer = session.call(request, async |mut api, request| {
        api.suspend_user(request).await
    });
    let table = |answer: &pb::SuspendUserResponse| tables::users(answer.user.as_slice());
    session.output().print(&answer.await?, table)
}

async fn resume_user(session: &OperatorSession, user: &UserArgument) -> Result<(), ClientError> {
    let user_id = user.id(session).await?;
    let request = pb::ResumeUserRequest { user_id };
    let answer = session.call(request, async |mut api, request| {
        api.resume_user(request).await
    });
    let table = |answer: &pb::ResumeUserResponse| tables::users(answer.user.as_slice());
    session.output().print(&answer.await?, table)
}

async fn list_nodes(session: &OperatorSession, limit: &Limit) -> Result<(), ClientError> {
    let nodes = limit.list(async |page_size, page_token| {
        let request = pb::ListNodesRequest {
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_nodes(request).await
        });
        let page = page.await?;
        Ok((page.nodes, page.next_page_token))
    });
    let answer = pb::ListNodesResponse {
        nodes: nodes.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListNodesResponse| tables::nodes(&answer.nodes);
    session.output().print(&answer, table)
}

async fn list_workers(
    session: &OperatorSession,
    node_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let workers = limit.list(async |page_size, page_token| {
        let request = pb::ListWorkersRequest {
            node_id: node_id.to_owned(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.list_workers(request).await
        });
        let page = page.await?;
        Ok((page.workers, page.next_page_token))
    });
    let answer = pb::ListWorkersResponse {
        workers: workers.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListWorkersResponse| tables::workers(&answer.workers);
    session.output().print(&answer, table)
}

async fn list_live_streams(
    session: &OperatorSession,
    user_id: &str,
    node_id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let streams = limit.list(async |page_size, page_token| {
        let request = pb::ListLiveStreamsRequest {
            user_id: user_id.to_owned(),
            node_id: node_id.to_owned(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.list_live_streams(request).await
        });
        let page = page.await?;
        Ok((page.live_streams, page.next_page_token))
    });
    let answer = pb::ListLiveStreamsResponse {
        live_streams: streams.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::ListLiveStreamsResponse| tables::live_streams(&answer.live_streams);
    session.output().print(&answer, table)
}

async fn list_audit_events(
    session: &OperatorSession,
    filter: &pb::OperatorServiceListAuditEventsRequest,
    limit: &Limit,
) -> Result<(), ClientError> {
    let events = limit.list(async |page_size, page_token| {
        let request = pb::OperatorServiceListAuditEventsRequest {
            page_size,
            page_token,
            ..filter.clone()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_audit_events(request).await
        });
        let page = page.await?;
        Ok((page.audit_events, page.next_page_token))
    });
    let answer = pb::OperatorServiceListAuditEventsResponse {
        audit_events: events.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::OperatorServiceListAuditEventsResponse| {
        tables::audit_events(&answer.audit_events)
    };
    session.output().print(&answer, table)
}

impl UserArgument {
    /// The id of the user.
    async fn id(&self, session: &OperatorSession) -> Result<String, ClientError> {
        if let Some(id) = &self.user_id {
            return Ok(id.clone());
        }
        let request = pb::ListUsersRequest {
            email: self.email.clone().unwrap_or_default(),
            ..Default::default()
        };
        let found = session.call(request, async |mut api, request| {
            api.list_users(request).await
        });
        let user = found.await?.users.into_iter().next();
        let user = user.and_then(|found| found.user).map(|user| user.id);
        user.ok_or_else(|| {
            let sentence = "no such account: `sluice admin list-users` lists them";
            ClientError::new(ExitClass::NotFound, sentence)
        })
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
