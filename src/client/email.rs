use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    error::ClientError,
    options::ClientOptions,
    output::Table,
    secret_input::{from_file, prompt},
    session::Session,
    text::time,
};
use crate::proto::v1 as pb;

/// The commands of `sluice email`.
#[derive(Subcommand)]
pub enum EmailCommand {
    /// Request a change of the e-mail address: both addresses get a message with a token.
    ///
    /// The address changes once both have confirmed it within 24 hours. An address that is not
    /// verified does not have to.
    Change {
        /// The new address.
        new_email: String,
    },
    /// Confirm a change with the token of a message. The last confirmation ends all other sessions.
    Confirm {
        #[command(flatten)]
        token: Token,
    },
    /// Cancel a change with the token of a message. This needs no session.
    Cancel {
        #[command(flatten)]
        token: Token,
    },
}

/// The token of a message.
#[derive(Args)]
pub struct Token {
    /// Read the token from this file instead of asking for it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Token {
    pub(super) fn read(&self) -> Result<String, ClientError> {
        const FLAG: &str = "--token-file";
        let token = match &self.token_file {
            Some(file) => from_file(file, FLAG),
            None => prompt("Token of the message", FLAG),
        };
        Ok(token?.expose().to_owned())
    }
}

/// Runs a command of `sluice email`.
pub(super) async fn run(options: &ClientOptions, command: EmailCommand) -> Result<(), ClientError> {
    match command {
        EmailCommand::Change { new_email } => change(&Session::open(options)?, new_email).await,
        EmailCommand::Confirm { token } => confirm(&Session::open(options)?, token.read()?).await,
        EmailCommand::Cancel { token } => {
            cancel(&Session::anonymous(options)?, token.read()?).await
        }
    }
}

async fn change(session: &Session, new_email: String) -> Result<(), ClientError> {
    let request = pb::RequestEmailChangeRequest { new_email };
    let answer = session.call(request, async |mut api, request| {
        api.auth.request_email_change(request).await
    });
    let answer = answer.await?;
    eprintln!("confirm it with the tokens of the messages: `sluice email confirm`");
    session.output().print(&answer, |answer| {
        Table::record(fields(&answer.email_change.clone().unwrap_or_default()))
    })
}

async fn confirm(session: &Session, token: String) -> Result<(), ClientError> {
    let request = pb::ConfirmEmailChangeRequest { token };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.confirm_email_change(request).await
    });
    let answer = answer.await?;
    let email = answer.user.clone().unwrap_or_default().email;
    if answer.email_change.is_none() {
        keep_email(session, &email)?;
    }
    session
        .output()
        .print(&answer, |answer| match &answer.email_change {
            Some(change) => Table::record([("email", email)]).with(fields(change)),
            None => Table::record([("email", email)]),
        })
}

async fn cancel(session: &Session, token: String) -> Result<(), ClientError> {
    let request = pb::CancelEmailChangeRequest { token };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.cancel_email_change(request).await
    });
    let text = "the change is cancelled: the address stays as it is";
    session.output().print_text(&answer.await?, text)
}

/// Keeps the changed address in the profile.
fn keep_email(session: &Session, email: &str) -> Result<(), ClientError> {
    let Some(file) = session.profile() else {
        return Ok(());
    };
    let lock = file.lock()?;
    match file.read()? {
        Some(mut profile) => {
            email.clone_into(&mut profile.email);
            file.write(&profile, &lock)
        }
        None => Ok(()),
    }
}

/// A pending change, for tables.
pub(super) fn fields(change: &pb::EmailChange) -> [(&'static str, String); 3] {
    let awaited = match (change.awaits_current_email, change.awaits_new_email) {
        (true, true) => "both addresses",
        (true, false) => "the current address",
        (false, _) => "the new address",
    };
    [
        ("new email", change.new_email.clone()),
        ("awaits", awaited.to_owned()),
        ("expires", time(change.expire_time)),
    ]
}
