//! The commands for operator keys.

use std::time::{Duration, SystemTime};

use clap::{Subcommand, ValueEnum};
use uuid::Uuid;

use super::{
    client::{ApiOptions, OperatorSession, run_with},
    tables,
};
use crate::{
    client::{ClientError, Limit},
    commands::error::CommandError,
    config::parse::duration,
    proto::v1 as pb,
};

/// Commands for operator keys.
#[derive(Subcommand)]
pub(in crate::commands) enum KeyCommand {
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
}

/// The state of an operator key.
#[derive(Clone, Copy, ValueEnum)]
pub(in crate::commands) enum KeyState {
    /// It can be used.
    Active,
    /// Its expiry has passed.
    Expired,
    /// It was revoked.
    Revoked,
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

/// Runs a command.
pub(super) fn run(command: KeyCommand) -> Result<(), CommandError> {
    match command {
        KeyCommand::CreateOperatorKey {
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
        KeyCommand::ListOperatorKeys {
            state,
            node_id,
            limit,
            options,
        } => run_with(options, async |session| {
            list_keys(session, state, &node_id, &limit).await
        }),
        KeyCommand::RevokeOperatorKey {
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
