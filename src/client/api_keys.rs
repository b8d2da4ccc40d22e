use std::time::{Duration, SystemTime};

use clap::Subcommand;
use prost_types::Timestamp;

use super::{
    error::ClientError,
    names::project_id,
    options::OutputFormat,
    output::{Table, print_line},
    pages::Limit,
    session::{Session, request_id},
    text::time,
};
use crate::proto::v1 as pb;

/// The commands of `sluice key`.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create an API key, and print its secret, which is shown only now.
    ///
    /// Only the secret goes to standard output.
    Create {
        /// The name of the key.
        name: String,
        /// What the key may do, such as `streams:read`; repeatable.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// Only for this project; repeatable. By default, all projects.
        #[arg(long = "project")]
        projects: Vec<String>,
        /// When the key expires, from now, such as 90d. By default, never.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
    },
    /// List API keys, newest first.
    List {
        #[command(flatten)]
        limit: Limit,
    },
    /// Revoke an API key. Its access tokens are refused too.
    Revoke {
        /// The id of the key.
        key: String,
    },
    /// Take over an API key of an organization as its owner: it does not end with the membership of
    /// its creator then.
    Adopt {
        /// The id of the key.
        key: String,
    },
}

/// Runs a command of `sluice key`.
pub(super) async fn run(session: &Session, command: KeyCommand) -> Result<(), ClientError> {
    match command {
        KeyCommand::Create {
            name,
            scopes,
            projects,
            expires_in,
        } => {
            let mut project_ids = Vec::new();
            for project in &projects {
                project_ids.push(project_id(session, project).await?);
            }
            let request = pb::CreateApiKeyRequest {
                display_name: name,
                scopes,
                project_ids,
                expire_time: expires_in.map(expire_time).transpose()?,
                request_id: request_id(),
                organization_id: session.organization(),
            };
            create(session, request).await
        }
        KeyCommand::List { limit } => list(session, &limit).await,
        KeyCommand::Revoke { key } => revoke(session, key).await,
        KeyCommand::Adopt { key } => adopt(session, key).await,
    }
}

/// The time of expiry after this span, from now.
fn expire_time(span: Duration) -> Result<Timestamp, ClientError> {
    let time = SystemTime::now().checked_add(span);
    let time = time.ok_or_else(|| ClientError::usage("--expires-in is too long: try 90d"))?;
    Ok(time.into())
}

async fn create(session: &Session, request: pb::CreateApiKeyRequest) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.auth.create_api_key(request).await
    });
    let answer = answer.await?;
    match session.output() {
        OutputFormat::Json => session.output().print_text(&answer, ""),
        OutputFormat::Table => {
            let id = answer.api_key.map(|key| key.id).unwrap_or_default();
            eprintln!("the secret of the key {id} is shown only now:");
            print_line(&answer.secret)
        }
    }
}

async fn list(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    let api_keys = limit.list(async |page_size, page_token| {
        let request = pb::ListApiKeysRequest {
            organization_id: session.organization(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.auth.list_api_keys(request).await
        });
        let page = page.await?;
        Ok((page.api_keys, page.next_page_token))
    });
    let answer = pb::ListApiKeysResponse {
        api_keys: api_keys.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.api_keys.iter().map(|key| {
            let projects = match (key.restricted, key.project_ids.len()) {
                (false, _) => "all".to_owned(),
                (true, number) => number.to_string(),
            };
            [
                key.id.clone(),
                key.display_name.clone(),
                key.scopes.join(" "),
                projects,
                time(key.last_used_time),
                time(key.expire_time),
            ]
        });
        let header = ["ID", "NAME", "SCOPES", "PROJECTS", "LAST USED", "EXPIRES"];
        Table::new(header, rows)
    })
}

async fn adopt(session: &Session, api_key_id: String) -> Result<(), ClientError> {
    let text = format!("the key {api_key_id} is yours");
    let request = pb::AdoptApiKeyRequest { api_key_id };
    let answer = session.call(request, async |mut api, request| {
        api.auth.adopt_api_key(request).await
    });
    let answer = answer.await?;
    session.output().print_text(&answer, &text)
}

async fn revoke(session: &Session, api_key_id: String) -> Result<(), ClientError> {
    let text = format!("the key {api_key_id} is revoked");
    let request = pb::RevokeApiKeyRequest {
        api_key_id,
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.auth.revoke_api_key(request).await
    });
    let answer = answer.await?;
    session.output().print_text(&answer, &text)
}
