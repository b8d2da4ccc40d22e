use clap::Subcommand;

use super::{
    error::ClientError, factors::Code, output::Table, pages::Limit, session::Session, text::time,
};
use crate::proto::v1 as pb;

/// The commands of `sluice passkey`.
#[derive(Subcommand)]
pub enum PasskeyCommand {
    /// List passkeys, newest first. A page in a browser registers them: no terminal can.
    List {
        #[command(flatten)]
        limit: Limit,
    },
    /// Rename a passkey.
    Rename {
        /// The id of the passkey.
        passkey: String,
        /// The new name.
        name: String,
    },
    /// Delete a passkey: it signs in no more. This needs a code of an authenticator or a recovery
    /// code.
    Delete {
        /// The id of the passkey.
        passkey: String,
        #[command(flatten)]
        code: Code,
    },
}

/// Runs a command of `sluice passkey`.
pub(super) async fn run(session: &Session, command: PasskeyCommand) -> Result<(), ClientError> {
    match command {
        PasskeyCommand::List { limit } => list(session, &limit).await,
        PasskeyCommand::Rename { passkey, name } => rename(session, passkey, name).await,
        PasskeyCommand::Delete { passkey, code } => delete(session, passkey, code.read()?).await,
    }
}

async fn list(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    let passkeys = limit.list(async |page_size, page_token| {
        let request = pb::ListPasskeysRequest {
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.auth.list_passkeys(request).await
        });
        let page = page.await?;
        Ok((page.passkeys, page.next_page_token))
    });
    let answer = pb::ListPasskeysResponse {
        passkeys: passkeys.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.passkeys.iter().map(|passkey| {
            let backed_up = match passkey.backed_up {
                true => "yes",
                false => "no",
            };
            [
                passkey.id.clone(),
                passkey.display_name.clone(),
                backed_up.to_owned(),
                time(passkey.create_time),
                time(passkey.last_used_time),
            ]
        });
        Table::new(["ID", "NAME", "BACKED UP", "CREATED", "LAST USED"], rows)
    })
}

async fn rename(
    session: &Session,
    passkey_id: String,
    display_name: String,
) -> Result<(), ClientError> {
    let text = format!("the passkey {passkey_id} is now called {display_name}");
    let request = pb::UpdatePasskeyRequest {
        passkey_id,
        display_name,
    };
    let answer = session.call(request, async |mut api, request| {
        api.auth.update_passkey(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

async fn delete(
    session: &Session,
    passkey_id: String,
    second_factor_code: String,
) -> Result<(), ClientError> {
    let text = format!("the passkey {passkey_id} is deleted");
    let request = pb::DeletePasskeyRequest {
        passkey_id,
        second_factor_code,
        ..Default::default()
    };
    let answer = session.call_once(request, async |mut api, request| {
        api.auth.delete_passkey(request).await
    });
    session.output().print_text(&answer.await?, &text)
}
