//! The commands for accounts of users.

use clap::{Args, Subcommand};

use super::{
    client::{ApiOptions, OperatorSession, run_with},
    tables,
};
use crate::{
    client::{ClientError, ExitClass, Limit},
    commands::error::CommandError,
    config::parse::not_empty,
    proto::v1 as pb,
};

/// Commands for accounts of users.
#[derive(Subcommand)]
pub(in crate::commands) enum UserCommand {
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
}

/// A user, by id or address.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(in crate::commands) struct UserArgument {
    /// The id of the user.
    #[arg(long, value_parser = not_empty)]
    user_id: Option<String>,
    /// The e-mail address of the user's account, case-insensitive.
    #[arg(long, value_parser = not_empty)]
    email: Option<String>,
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

/// Runs a command.
pub(super) fn run(command: UserCommand) -> Result<(), CommandError> {
    match command {
        UserCommand::ListUsers {
            email,
            suspended,
            limit,
            options,
        } => run_with(options, async |session| {
            list_users(session, &email, suspended, &limit).await
        }),
        UserCommand::GetUser { user, options } => {
            run_with(options, async |session| get_user(session, &user).await)
        }
        UserCommand::SuspendUser { user, options } => {
            run_with(options, async |session| suspend_user(session, &user).await)
        }
        UserCommand::ResumeUser { user, options } => {
            run_with(options, async |session| resume_user(session, &user).await)
        }
    }
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
