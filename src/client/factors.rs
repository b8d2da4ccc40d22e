use std::{cell::Cell, path::PathBuf};

use clap::{Args, Subcommand};

use super::{
    account::{password, second_factor_code},
    error::ClientError,
    options::OutputFormat,
    output::{Table, print_line},
    pages::Limit,
    secret_input::can_prompt,
    session::Session,
    text::time,
};
use crate::proto::v1 as pb;

/// The commands of `sluice factor`.
#[derive(Subcommand)]
pub enum FactorCommand {
    /// Add an authenticator: show its secret, and ask for its first code.
    ///
    /// Without a terminal, only the secret and its URI are printed. Then `sluice factor confirm`
    /// completes the enrolment within 30 minutes.
    Add {
        /// The name of the authenticator.
        name: String,
        /// Read the account's password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        code: Code,
    },
    /// Confirm an authenticator with its first code, and print recovery codes, which are shown only
    /// now.
    Confirm {
        /// The id of the authenticator.
        factor: String,
        #[command(flatten)]
        code: Code,
    },
    /// List authenticators, newest first.
    List {
        #[command(flatten)]
        limit: Limit,
    },
    /// Delete an authenticator. Without it and passkeys, sign-ins need no code any more.
    Delete {
        /// The id of the authenticator.
        factor: String,
        #[command(flatten)]
        code: Code,
    },
    /// Replace the recovery codes, and print the new ones, which are shown only now.
    RecoveryCodes {
        #[command(flatten)]
        code: Code,
    },
}

/// A code of a second factor.
#[derive(Args)]
pub struct Code {
    /// Read the code from this file instead of asking for it.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

impl Code {
    pub(super) fn read(&self) -> Result<String, ClientError> {
        let code = second_factor_code(self.code_file.as_deref())?;
        Ok(code.expose().to_owned())
    }
}

/// Runs a command of `sluice factor`.
pub(super) async fn run(session: &Session, command: FactorCommand) -> Result<(), ClientError> {
    match command {
        FactorCommand::Add {
            name,
            password_stdin,
            code,
        } => {
            let password = password(password_stdin, false)?;
            let request = pb::CreateSecondFactorRequest {
                display_name: name,
                password: password.expose().to_owned(),
                ..Default::default()
            };
            add(session, request, &code).await
        }
        FactorCommand::Confirm { factor, code } => confirm(session, factor, code.read()?).await,
        FactorCommand::List { limit } => list(session, &limit).await,
        FactorCommand::Delete { factor, code } => delete(session, factor, code.read()?).await,
        FactorCommand::RecoveryCodes { code } => recovery_codes(session, code.read()?).await,
    }
}

async fn add(
    session: &Session,
    mut request: pb::CreateSecondFactorRequest,
    code: &Code,
) -> Result<(), ClientError> {
    let created = match create(session, &request).await {
        Err(error) if error.has_reason("SECOND_FACTOR_REQUIRED") => {
            request.second_factor_code = code.read()?;
            create(session, &request).await?
        }
        created => created?,
    };
    let id = created.second_factor.clone().unwrap_or_default().id;
    session.output().print(&created, |created| {
        Table::record([
            ("id", id.clone()),
            ("secret", created.secret.clone()),
            ("uri", created.otpauth_uri.clone()),
        ])
    })?;
    if !can_prompt() {
        eprintln!("to complete the enrolment, run `sluice factor confirm {id}`");
        return Ok(());
    }
    let first = Code { code_file: None };
    confirm(session, id, first.read()?).await
}

async fn create(
    session: &Session,
    request: &pb::CreateSecondFactorRequest,
) -> Result<pb::CreateSecondFactorResponse, ClientError> {
    let created = session.call_once(request.clone(), async |mut api, request| {
        api.auth.create_second_factor(request).await
    });
    created.await
}

async fn confirm(
    session: &Session,
    second_factor_id: String,
    second_factor_code: String,
) -> Result<(), ClientError> {
    let request = pb::ConfirmSecondFactorRequest {
        second_factor_id,
        second_factor_code,
    };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.confirm_second_factor(request).await
    });
    let answer = answer.await?;
    eprintln!("the authenticator is confirmed: from now on, each sign-in needs a code");
    print_codes(session, &answer, &answer.recovery_codes)
}

async fn list(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    let unused = Cell::new(0);
    let second_factors = limit.list(async |page_size, page_token| {
        let request = pb::ListSecondFactorsRequest {
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.auth.list_second_factors(request).await
        });
        let page = page.await?;
        unused.set(page.unused_recovery_codes);
        Ok((page.second_factors, page.next_page_token))
    });
    let second_factors = second_factors.await?;
    let answer = pb::ListSecondFactorsResponse {
        second_factors,
        next_page_token: String::new(),
        unused_recovery_codes: unused.get(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.second_factors.iter().map(|factor| {
            [
                factor.id.clone(),
                factor.display_name.clone(),
                time(factor.create_time),
                time(factor.last_used_time),
            ]
        });
        Table::new(["ID", "NAME", "CREATED", "LAST USED"], rows)
    })?;
    eprintln!("{} recovery codes are unused", unused.get());
    Ok(())
}

async fn delete(
    session: &Session,
    second_factor_id: String,
    second_factor_code: String,
) -> Result<(), ClientError> {
    let text = format!("the authenticator {second_factor_id} is deleted");
    let request = pb::DeleteSecondFactorRequest {
        second_factor_id,
        second_factor_code,
        ..Default::default()
    };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.delete_second_factor(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

async fn recovery_codes(session: &Session, second_factor_code: String) -> Result<(), ClientError> {
    let request = pb::RegenerateRecoveryCodesRequest {
        second_factor_code,
        ..Default::default()
    };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.regenerate_recovery_codes(request).await
    });
    let answer = answer.await?;
    print_codes(session, &answer, &answer.recovery_codes)
}

/// Prints recovery codes, if there are new ones: only they go to standard output.
fn print_codes<M: prost::Name>(
    session: &Session,
    answer: &M,
    codes: &[String],
) -> Result<(), ClientError> {
    if session.output() == OutputFormat::Json {
        return session.output().print_text(answer, "");
    }
    if !codes.is_empty() {
        eprintln!("the recovery codes are shown only now; each one works once:");
    }
    codes.iter().try_for_each(|code| print_line(code))
}
