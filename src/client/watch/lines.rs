use std::collections::VecDeque;

use super::{
    super::{
        output::printable,
        refusals, relays,
        streams::{STATE, end_reason, video},
        text::{bitrate, label, or_dash, time},
    },
    feed::Update,
    view::View,
};
use crate::proto::v1::{self as pb, watch_projects_response::Event};

/// Refusals that are remembered. The server sends those of the last minute again after an
/// interruption.
const MAX_TOLD: usize = 1000;

/// The lines that tell what updates have changed.
#[derive(Default)]
pub(super) struct Lines {
    /// The refusals that were told, oldest first.
    told: VecDeque<pb::Refusal>,
}

impl Lines {
    /// The lines of an update. `view` is the state after it.
    pub fn of(&mut self, update: &Update, view: &View) -> Vec<String> {
        let lines = match update {
            Update::Started => Vec::new(),
            Update::Interrupted { sentence, delay } => {
                let seconds = delay.as_secs_f64();
                vec![format!(
                    "- interrupted: {sentence}; next attempt in {seconds:.1} s"
                )]
            }
            Update::EarlierRefusals(refusals) => {
                let lines = refusals.iter().rev();
                lines.filter_map(|one| self.refusal_line(one)).collect()
            }
            Update::Message(message) => match &message.event {
                Some(Event::PublisherRefused(refusal)) => {
                    self.refusal_line(refusal).into_iter().collect()
                }
                _ => message_lines(message, view),
            },
        };
        lines.into_iter().map(printable).collect()
    }

    /// The line of a refusal, unless it was told already.
    fn refusal_line(&mut self, refusal: &pb::Refusal) -> Option<String> {
        if self.told.contains(refusal) {
            return None;
        }
        if self.told.len() == MAX_TOLD {
            self.told.pop_front();
        }
        self.told.push_back(refusal.clone());
        Some(format!(
            "{} refused {} node {} publisher {}",
            time(refusal.create_time),
            refusals::reason(refusal),
            or_dash(&refusal.node_id),
            or_dash(&refusal.peer_prefix)
        ))
    }
}

fn message_lines(message: &pb::WatchProjectsResponse, view: &View) -> Vec<String> {
    let at = format!(
        "{} revision {}",
        time(message.create_time),
        message.revision
    );
    let Some(event) = &message.event else {
        return Vec::new();
    };
    match event {
        Event::Heartbeat(_) | Event::Stats(_) | Event::PublisherRefused(_) => Vec::new(),
        // Without a project, it follows those of all projects, which are one here.
        Event::Synced(_) if message.project_id.is_empty() => Vec::new(),
        Event::Synced(_) => vec![format!("{at} synced")],
        Event::Resync(_) => vec![format!("{at} resync: older changes have been deleted")],
        Event::IssuesChanged(change) => issue_lines(&at, change, view),
        Event::Snapshot(snapshot) => {
            let mut lines = vec![format!("{at} project {}", project(&view.project))];
            let destinations = snapshot.destinations.iter();
            lines.extend(destinations.map(|one| format!("{at} destination {}", destination(one))));
            let stream = snapshot.stream.iter();
            lines.extend(stream.map(|one| format!("{at} stream {}", stream_text(one))));
            let relays = snapshot.relays.iter();
            lines.extend(relays.map(|one| format!("{at} relay {}", relay(one, view))));
            lines
        }
        Event::ProjectUpdated(one) => vec![format!("{at} project {}", project(one))],
        Event::ProjectDeleted(_) => vec![format!("{at} project deleted")],
        Event::DestinationChanged(change) => vec![match &change.destination {
            Some(one) => format!("{at} destination {}", destination(one)),
            None => format!("{at} destination {} deleted", change.destination_id),
        }],
        Event::StreamChanged(one) => vec![format!("{at} stream {}", stream_text(one))],
        Event::RelayChanged(one) => vec![format!("{at} relay {}", relay(one, view))],
    }
}

/// The present issues; one line if there are none any more.
fn issue_lines(at: &str, change: &pb::IssuesChanged, view: &View) -> Vec<String> {
    match change.issues.as_slice() {
        [] => vec![format!("{at} no issues")],
        issues => {
            let lines = issues.iter().map(|issue| issue_text(issue, view));
            lines.map(|text| format!("{at} issue {text}")).collect()
        }
    }
}

/// An issue with its severity, its destination if it is that of a relay, and its beginning.
pub(super) fn issue_text(issue: &pb::Issue, view: &View) -> String {
    let severity = label(issue.severity().as_str_name(), "ISSUE_SEVERITY_");
    let code = label(issue.code().as_str_name(), "ISSUE_CODE_");
    let mut text = format!("{severity} {code}");
    if !issue.destination_id.is_empty() {
        let name = view.destination_name(&issue.destination_id);
        text = format!("{text} {name:?}");
    }
    text = format!("{text} since {}", time(issue.since));
    match issue.detail.as_str() {
        "" => text,
        detail => format!("{text}: {detail}"),
    }
}

fn project(project: &pb::Project) -> String {
    let state = if project.disabled {
        "disabled"
    } else {
        "enabled"
    };
    format!("{:?} {state}", project.display_name)
}

fn destination(destination: &pb::Destination) -> String {
    let state = if destination.disabled {
        "disabled"
    } else {
        "enabled"
    };
    format!("{:?} {state} {}", destination.display_name, destination.url)
}

fn stream_text(stream: &pb::Stream) -> String {
    let state = label(stream.state().as_str_name(), STATE);
    let reason = match end_reason(stream) {
        reason if reason == "-" => String::new(),
        reason => format!(" ({reason})"),
    };
    let stats = stream.stats.clone().unwrap_or_default();
    let details = [bitrate(stats.bitrate_bps), video(&stats)];
    let known = details.iter().filter(|detail| *detail != "-");
    let details: String = known.map(|detail| format!(" {detail}")).collect();
    format!("{} {state}{reason}{details}", stream.id)
}

fn relay(relay: &pb::Relay, view: &View) -> String {
    let mut text = format!(
        "{:?} {}",
        view.destination_name(&relay.destination_id),
        relays::state(relay)
    );
    if relay.bitrate_bps > 0 {
        text = format!("{text} {}", bitrate(relay.bitrate_bps));
    }
    match relays::problem(relay) {
        problem if problem == "-" => text,
        problem => format!("{text}: {problem}"),
    }
}
