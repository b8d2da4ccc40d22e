use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    error::ClientError,
    names::project_id,
    output::Table,
    pages::Limit,
    session::{Session, request_id},
    text::{duration, enum_parser, label, or_dash, time, to_duration},
};
use crate::proto::v1::{self as pb, OutagePolicy, ProjectView, PublishConflictPolicy, RelayState};

const PROJECT_STREAM_STATE: &str = "PROJECT_STREAM_STATE_";
const POLICY: &str = "PUBLISH_CONFLICT_POLICY_";
const OUTAGE_POLICY: &str = "OUTAGE_POLICY_";

/// The commands of `sluice project`. A project is named by its id, its unique name, or the unique
/// start of its id.
#[derive(Subcommand)]
pub enum ProjectCommand {
    /// Create a project with a stream key.
    Create {
        /// The name of the project.
        name: String,
        /// How long a stream waits for a publisher that lost its connection, up to 30min.
        #[arg(long, value_parser = humantime::parse_duration)]
        reconnect_window: Option<Duration>,
        /// What happens to a publisher while another one is connected.
        #[arg(long, value_parser = policy())]
        on_conflict: Option<PublishConflictPolicy>,
        /// What destinations get while the publisher is away: nothing, or the last picture on
        /// the same connection.
        #[arg(long, value_parser = outage_policy())]
        on_outage: Option<OutagePolicy>,
        #[command(flatten)]
        key: ShowKey,
    },
    /// List projects, newest first.
    List {
        /// Show the live stream, the destinations and the relays of each project too.
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show a project.
    Get {
        /// The project.
        project: String,
        /// Show its live stream, destinations and relays too.
        #[arg(long)]
        full: bool,
    },
    /// Change a project.
    #[command(group = clap::ArgGroup::new("changes").required(true).multiple(true))]
    Update {
        /// The project.
        project: String,
        /// The new name.
        #[arg(long, group = "changes")]
        name: Option<String>,
        /// Whether publishers are refused. If true, a live stream ends.
        #[arg(long, group = "changes")]
        disabled: Option<bool>,
        /// How long a stream waits for a publisher that lost its connection, up to 30min.
        #[arg(long, group = "changes", value_parser = humantime::parse_duration)]
        reconnect_window: Option<Duration>,
        /// What happens to a publisher while another one is connected.
        #[arg(long, group = "changes", value_parser = policy())]
        on_conflict: Option<PublishConflictPolicy>,
        /// What destinations get while the publisher is away: nothing, or the last picture on
        /// the same connection.
        #[arg(long, group = "changes", value_parser = outage_policy())]
        on_outage: Option<OutagePolicy>,
        /// Do this only if the project still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a project, with its destinations and streams.
    Delete {
        /// The project.
        project: String,
        /// Delete it even while a stream is live, which ends.
        #[arg(long)]
        force: bool,
        /// Do this only if the project still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Replace the stream key.
    RotateKey {
        /// The project.
        project: String,
        /// How long the old key is still accepted.
        #[arg(long, value_parser = humantime::parse_duration)]
        grace: Option<Duration>,
        #[command(flatten)]
        key: ShowKey,
    },
    /// Print the stream key.
    RevealKey {
        /// The project.
        project: String,
    },
}

/// Whether a new stream key is printed.
#[derive(Args)]
pub struct ShowKey {
    /// Print the new stream key, which is a secret. `sluice project reveal-key` prints it later.
    #[arg(long)]
    show_key: bool,
}

impl ShowKey {
    /// The key as it is printed.
    fn shown(&self, key: String) -> String {
        match self.show_key {
            true => key,
            false => String::new(),
        }
    }
}

fn policy() -> impl clap::builder::TypedValueParser<Value = PublishConflictPolicy> {
    enum_parser(POLICY, PublishConflictPolicy::as_str_name)
}

fn outage_policy() -> impl clap::builder::TypedValueParser<Value = OutagePolicy> {
    enum_parser(OUTAGE_POLICY, OutagePolicy::as_str_name)
}

/// Runs a command of `sluice project`.
pub(super) async fn run(session: &Session, command: ProjectCommand) -> Result<(), ClientError> {
    match command {
        ProjectCommand::Create {
            name,
            reconnect_window,
            on_conflict,
            on_outage,
            key,
        } => {
            let request = pb::CreateProjectRequest {
                display_name: name,
                reconnect_window: reconnect_window.map(to_duration),
                publish_conflict_policy: on_conflict.unwrap_or_default().into(),
                outage_policy: on_outage.unwrap_or_default().into(),
                request_id: request_id(),
                organization_id: session.organization(),
            };
            create(session, request, &key).await
        }
        ProjectCommand::List { full, limit } => list(session, view(full), &limit).await,
        ProjectCommand::Get { project, full } => get(session, &project, view(full)).await,
        ProjectCommand::Update {
            project,
            name,
            disabled,
            reconnect_window,
            on_conflict,
            on_outage,
            etag,
        } => {
            let request = pb::UpdateProjectRequest {
                project_id: project_id(session, &project).await?,
                display_name: name,
                disabled,
                reconnect_window: reconnect_window.map(to_duration),
                publish_conflict_policy: on_conflict.map(i32::from),
                outage_policy: on_outage.map(i32::from),
                etag,
                request_id: request_id(),
            };
            update(session, request).await
        }
        ProjectCommand::Delete {
            project,
            force,
            etag,
        } => {
            let request = pb::DeleteProjectRequest {
                project_id: project_id(session, &project).await?,
                force,
                etag,
                request_id: request_id(),
            };
            delete(session, request).await
        }
        ProjectCommand::RotateKey {
            project,
            grace,
            key,
        } => rotate_key(session, &project, grace, &key).await,
        ProjectCommand::RevealKey { project } => reveal_key(session, &project).await,
    }
}

async fn create(
    session: &Session,
    request: pb::CreateProjectRequest,
    key: &ShowKey,
) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.project.create_project(request).await
    });
    let mut answer = answer.await?;
    answer.stream_key = key.shown(answer.stream_key);
    session.output().print(&answer, |answer| {
        record(answer.project.as_ref(), &answer.stream_key)
    })
}

fn view(full: bool) -> ProjectView {
    match full {
        true => ProjectView::Full,
        false => ProjectView::Basic,
    }
}

async fn list(session: &Session, view: ProjectView, limit: &Limit) -> Result<(), ClientError> {
    let projects = limit.list(async |page_size, page_token| {
        let request = pb::ListProjectsRequest {
            page_size,
            page_token,
            view: view.into(),
            organization_id: session.organization(),
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.project.list_projects(request).await
        });
        let page = page.await?;
        Ok((page.projects, page.next_page_token))
    });
    let answer = pb::ListProjectsResponse {
        projects: projects.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| match view {
        ProjectView::Full => full_table(&answer.projects),
        ProjectView::Basic | ProjectView::Unspecified => table(&answer.projects),
    })
}

fn table(projects: &[pb::Project]) -> Table {
    let rows = projects.iter().map(|project| {
        [
            project.id.clone(),
            project.display_name.clone(),
            state(project).to_owned(),
            time(project.create_time),
        ]
    });
    Table::new(["ID", "NAME", "STATE", "CREATED"], rows)
}

/// The table of projects with what belongs to them.
fn full_table(projects: &[pb::Project]) -> Table {
    let rows = projects.iter().map(|project| {
        let stream = project.live_stream.as_ref();
        let live_since = stream.and_then(|stream| stream.live_time);
        [
            project.id.clone(),
            project.display_name.clone(),
            state(project).to_owned(),
            stream_state(project),
            time(live_since),
            project.destinations.len().to_string(),
            broadcasting(project),
        ]
    });
    let header = [
        "ID",
        "NAME",
        "STATE",
        "STREAM",
        "LIVE SINCE",
        "DESTINATIONS",
        "BROADCASTING",
    ];
    Table::new(header, rows)
}

/// The state of the live stream.
fn stream_state(project: &pb::Project) -> String {
    match &project.live_stream {
        None => or_dash(""),
        Some(stream) => label(stream.state().as_str_name(), PROJECT_STREAM_STATE),
    }
}

/// The number of relays whose bytes grow, of all relays of the live stream.
fn broadcasting(project: &pb::Project) -> String {
    let (relays, wanted) = (&project.relays, RelayState::Broadcasting);
    match relays.len() {
        0 => or_dash(""),
        all => {
            let count = relays.iter().filter(|relay| relay.state() == wanted);
            format!("{} of {all}", count.count())
        }
    }
}

async fn get(session: &Session, project: &str, view: ProjectView) -> Result<(), ClientError> {
    let request = pb::GetProjectRequest {
        project_id: project_id(session, project).await?,
        view: view.into(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.project.get_project(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| match view {
        ProjectView::Full => full_record(answer.project.as_ref()),
        ProjectView::Basic | ProjectView::Unspecified => record(answer.project.as_ref(), ""),
    })
}

/// The fields of a project, and counts of what belongs to it.
fn full_record(project: Option<&pb::Project>) -> Table {
    let owned = project.cloned().unwrap_or_default();
    let names = owned.destinations.iter();
    let names: Vec<_> = names.map(|one| one.display_name.as_str()).collect();
    record(project, "").with([
        ("stream", stream_state(&owned)),
        ("destinations", or_dash(&names.join(", "))),
        ("broadcasting", broadcasting(&owned)),
    ])
}

async fn update(session: &Session, request: pb::UpdateProjectRequest) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.project.update_project(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.project.as_ref(), ""))
}

async fn delete(session: &Session, request: pb::DeleteProjectRequest) -> Result<(), ClientError> {
    let id = request.project_id.clone();
    let answer = session.call(request, async |mut api, request| {
        api.project.delete_project(request).await
    });
    let answer = answer.await?;
    let text = format!("the project {id} is deleted");
    session.output().print_text(&answer, &text)
}

async fn rotate_key(
    session: &Session,
    project: &str,
    grace: Option<Duration>,
    key: &ShowKey,
) -> Result<(), ClientError> {
    let request = pb::RotateStreamKeyRequest {
        project_id: project_id(session, project).await?,
        grace: grace.map(to_duration),
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.project.rotate_stream_key(request).await
    });
    let mut answer = answer.await?;
    answer.stream_key = key.shown(answer.stream_key);
    session.output().print(&answer, |answer| {
        record(answer.project.as_ref(), &answer.stream_key)
    })
}

async fn reveal_key(session: &Session, project: &str) -> Result<(), ClientError> {
    let request = pb::RevealStreamKeyRequest {
        project_id: project_id(session, project).await?,
    };
    let answer = session.call(request, async |mut api, request| {
        api.project.reveal_stream_key(request).await
    });
    let answer = answer.await?;
    session.output().print_text(&answer, &answer.stream_key)
}

fn state(project: &pb::Project) -> &'static str {
    match (project.disabled, project.live_stream_id.is_empty()) {
        (true, _) => "DISABLED",
        (false, false) => "STREAMING",
        (false, true) => "READY",
    }
}

/// The fields of a project. Without its stream key, its last characters are shown.
fn record(project: Option<&pb::Project>, stream_key: &str) -> Table {
    let project = project.cloned().unwrap_or_default();
    let stream_key = match stream_key {
        "" => format!("…{} (`sluice project reveal-key`)", project.stream_key_hint),
        key => key.to_owned(),
    };
    let policy = project.publish_conflict_policy();
    let outage_policy = project.outage_policy();
    Table::record([
        ("id", project.id.clone()),
        ("name", project.display_name.clone()),
        ("state", state(&project).to_owned()),
        ("stream key", stream_key),
        ("live stream", or_dash(&project.live_stream_id)),
        ("reconnect window", duration(project.reconnect_window)),
        ("on conflict", label(policy.as_str_name(), POLICY)),
        (
            "on outage",
            label(outage_policy.as_str_name(), OUTAGE_POLICY),
        ),
        ("revision", project.revision.to_string()),
        ("created", time(project.create_time)),
        ("updated", time(project.update_time)),
    ])
}
