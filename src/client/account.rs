use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    email,
    error::{ClientError, ExitClass},
    options::ClientOptions,
    output::{Table, print_line},
    profile::{Profile, ProfileFile},
    secret_input::{from_file, from_stdin, prompt},
    session::{Session, request_id},
    text::time,
};
use crate::{domain::Secret, proto::v1 as pb};

/// The arguments of `sluice signup`.
#[derive(Args)]
pub struct Signup {
    /// The e-mail address of the account.
    #[arg(long)]
    email: String,
    /// The name that others see.
    #[arg(long)]
    display_name: String,
    /// Read the password from standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// The arguments of `sluice login`.
#[derive(Args)]
pub struct Login {
    /// The e-mail address of the account.
    #[arg(long)]
    email: String,
    /// Read the password from standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
    /// Read the code of the second factor from this file instead of asking for it: one line with the
    /// six digits of an authenticator, or with a recovery code.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    options: ClientOptions,
}

/// The arguments of `sluice logout`.
#[derive(Args)]
pub struct Logout {
    /// Forget the session even if the server cannot be told to end it.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Creates an account, and stores its session in the profile.
pub(super) async fn signup(arguments: &Signup) -> Result<(), ClientError> {
    let session = Session::anonymous(&arguments.options)?;
    let password = password(arguments.password_stdin, true)?;
    let request = pb::SignUpRequest {
        email: arguments.email.clone(),
        password: password.expose().to_owned(),
        display_name: arguments.display_name.clone(),
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.auth.sign_up(request).await
    });
    let answer = answer.await?;
    let (user, tokens) = (answer.user.unwrap_or_default(), answer.tokens);
    store(
        &arguments.options,
        &session,
        &user,
        tokens.unwrap_or_default(),
    )?;
    greet(&session, user)
}

/// Signs in, and stores the session in the profile.
pub(super) async fn login(arguments: &Login) -> Result<(), ClientError> {
    let session = Session::anonymous(&arguments.options)?;
    let password = password(arguments.password_stdin, false)?;
    let mut request = pb::SignInRequest {
        email: arguments.email.clone(),
        password: password.expose().to_owned(),
        ..Default::default()
    };
    let answer = match sign_in(&session, &request).await {
        Err(error) if error.has_reason("SECOND_FACTOR_REQUIRED") => {
            let code = second_factor_code(arguments.code_file.as_deref())?;
            request.second_factor_code = code.expose().to_owned();
            sign_in(&session, &request).await?
        }
        answer => answer?,
    };
    let (user, tokens) = (answer.user.unwrap_or_default(), answer.tokens);
    store(
        &arguments.options,
        &session,
        &user,
        tokens.unwrap_or_default(),
    )?;
    greet(&session, user)
}

async fn sign_in(
    session: &Session,
    request: &pb::SignInRequest,
) -> Result<pb::SignInResponse, ClientError> {
    let answer = session.call_once(request.clone(), async |mut api, request| {
        api.auth.sign_in(request).await
    });
    answer.await
}

/// Ends the session of the profile, and deletes the profile.
pub(super) async fn logout(arguments: &Logout) -> Result<(), ClientError> {
    let session = Session::open(&arguments.options)?;
    let Some(file) = session.profile() else {
        return Err(ClientError::usage(
            "an API key has no session to end: unset SLUICE_API_KEY (--api-key)",
        ));
    };
    let request = pb::SignOutRequest {
        scope: pb::SignOutScope::Current.into(),
    };
    let ended = session.call(request, async |mut api, request| {
        api.auth.sign_out(request).await
    });
    match ended.await {
        // The session has ended already.
        Err(error) if error.exit_code() != ExitClass::Denied as u8 && !arguments.force => {
            return Err(error);
        }
        _ => {}
    }
    let lock = file.lock()?;
    file.remove(&lock)
}

/// Prints the signed-in user.
pub(super) async fn whoami(options: &ClientOptions) -> Result<(), ClientError> {
    let session = Session::open(options)?;
    let answer = session.call(pb::GetMeRequest {}, async |mut api, request| {
        api.auth.get_me(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| {
        let record = user_record(&session, &answer.user.clone().unwrap_or_default());
        match &answer.email_change {
            Some(change) => record.with(email::fields(change)),
            None => record,
        }
    })
}

/// Prints a valid access token, for other clients such as grpcurl.
pub(super) async fn token(options: &ClientOptions) -> Result<(), ClientError> {
    let session = Session::open(options)?;
    let token = session.access_token(None).await?;
    print_line(&token.unwrap_or_default())
}

/// Asks for a password, or reads it from standard input.
pub(super) fn password(from_input: bool, is_new: bool) -> Result<Secret, ClientError> {
    const FLAG: &str = "--password-stdin";
    if from_input {
        return from_stdin(FLAG);
    }
    let password = prompt("Password", FLAG)?;
    match is_new && prompt("Repeat the password", FLAG)? != password {
        true => Err(ClientError::usage("the two passwords differ: try again")),
        false => Ok(password),
    }
}

/// Asks for a code of the second factor, or reads it from a file.
pub(super) fn second_factor_code(file: Option<&Path>) -> Result<Secret, ClientError> {
    const FLAG: &str = "--code-file";
    match file {
        Some(file) => from_file(file, FLAG),
        None => prompt("Code of the authenticator, or a recovery code", FLAG),
    }
}

/// Replaces the profile.
fn store(
    options: &ClientOptions,
    session: &Session,
    user: &pb::User,
    tokens: pb::Tokens,
) -> Result<(), ClientError> {
    let file = ProfileFile::named(options.profile())?;
    let profile = Profile::new(
        session.server(),
        options.ca_file().as_deref(),
        &user.email,
        tokens,
    );
    let lock = file.lock()?;
    file.write(&profile, &lock)
}

fn greet(session: &Session, user: pb::User) -> Result<(), ClientError> {
    let answer = pb::GetMeResponse {
        user: Some(user),
        email_change: None,
    };
    session.output().print(&answer, |answer| {
        user_record(session, &answer.user.clone().unwrap_or_default())
    })
}

fn user_record(session: &Session, user: &pb::User) -> Table {
    Table::record([
        ("user", user.display_name.clone()),
        ("email", user.email.clone()),
        ("id", user.id.clone()),
        ("created", time(user.create_time)),
        ("server", session.server().to_owned()),
    ])
}
