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
    issues: ToldIssues,
}

/// The issues that were told and are present, as far as is known.
///
/// After an interruption the server sends the present issues again, if there are any, before it says
/// that the project is synced.
#[derive(Default)]
struct ToldIssues {
    issues: Vec<pb::Issue>,
    /// Whether the server has sent the issues since the watch began or went on.
    are_current: bool,
}

impl Lines {
    /// The lines of an update. `view` is the state after it.
    pub fn of(&mut self, update: &Update, view: &View) -> Vec<String> {
        let lines = match update {
            Update::Started => {
                self.issues.are_current = false;
                Vec::new()
            }
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
                Some(event) => {
                    let at = position(message);
                    let mut lines = self.issues.lines_of(event, message, view);
                    lines.extend(message_lines(&at, event, message, view));
                    lines
                }
                None => Vec::new(),
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

impl ToldIssues {
    /// The lines about issues that an event changes.
    fn lines_of(
        &mut self,
        event: &Event,
        message: &pb::WatchProjectsResponse,
        view: &View,
    ) -> Vec<String> {
        let present = match event {
            Event::IssuesChanged(change) => change.issues.as_slice(),
            // There were none to send.
            Event::Synced(_) if !message.project_id.is_empty() && !self.are_current => &[],
            // A snapshot follows, and then the issues or the end of the start.
            Event::Resync(_) => {
                self.are_current = false;
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        self.are_current = true;
        let lines = self.changes(&position(message), present, view);
        self.issues = present.to_vec();
        lines
    }

    /// A line for each issue that is new or has changed, and for each that is over.
    fn changes(&self, at: &str, present: &[pb::Issue], view: &View) -> Vec<String> {
        if present.is_empty() && !self.issues.is_empty() {
            return vec![format!("{at} no issues")];
        }
        let is_present = |told: &pb::Issue| present.iter().any(|one| is_same(one, told));
        let over = self.issues.iter().filter(|told| !is_present(told));
        let over = over.map(|one| format!("{at} issue over: {}", issue_text(one, view)));
        let new = present.iter().filter(|one| !self.issues.contains(one));
        let new = new.map(|one| format!("{at} issue {}", issue_text(one, view)));
        over.chain(new).collect()
    }
}

/// Whether both tell of one issue, whatever its details are.
fn is_same(one: &pb::Issue, other: &pb::Issue) -> bool {
    (one.code, &one.destination_id, one.since) == (other.code, &other.destination_id, other.since)
}

/// When and after which revision the event of a message happened.
fn position(message: &pb::WatchProjectsResponse) -> String {
    let time = time(message.create_time);
    format!("{time} revision {}", message.revision)
}

fn message_lines(
    at: &str,
    event: &Event,
    message: &pb::WatchProjectsResponse,
    view: &View,
) -> Vec<String> {
    match event {
        Event::Heartbeat(_)
        | Event::Stats(_)
        | Event::PublisherRefused(_)
        | Event::IssuesChanged(_) => Vec::new(),
        // Without a project, it follows those of all projects, which are one here.
        Event::Synced(_) if message.project_id.is_empty() => Vec::new(),
        Event::Synced(_) => vec![format!("{at} synced")],
        Event::Resync(_) => vec![format!("{at} resync: older changes have been deleted")],
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

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(code: pb::IssueCode, detail: &str) -> pb::Issue {
        pb::Issue {
            code: code.into(),
            severity: pb::IssueSeverity::Warning.into(),
            detail: detail.to_owned(),
            ..Default::default()
        }
    }

    /// The lines of an event, without their beginnings.
    fn told(lines: &mut Lines, event: Event) -> Vec<String> {
        let message = pb::WatchProjectsResponse {
            project_id: "p".to_owned(),
            event: Some(event),
            ..Default::default()
        };
        let told = lines.of(&Update::Message(message.into()), &View::default());
        let text = |line: String| line.split_once(" revision 0 ").unwrap().1.to_owned();
        told.into_iter().map(text).collect()
    }

    fn changed(issues: &[pb::Issue]) -> Event {
        let issues = issues.to_vec();
        Event::IssuesChanged(pb::IssuesChanged { issues })
    }

    #[test]
    fn a_line_tells_of_each_issue_that_begins_or_ends_and_of_no_other() {
        let mut lines = Lines::default();
        let lost = issue(pb::IssueCode::PublisherLost, "");
        let stalled = issue(pb::IssueCode::RelayStalled, "no progress");

        let first = told(&mut lines, changed(std::slice::from_ref(&lost)));
        assert_eq!(first, ["issue WARNING PUBLISHER_LOST since -"]);
        let second = told(&mut lines, changed(&[lost.clone(), stalled.clone()]));
        assert_eq!(second, ["issue WARNING RELAY_STALLED since -: no progress"]);
        let third = told(&mut lines, changed(&[stalled]));
        assert_eq!(third, ["issue over: WARNING PUBLISHER_LOST since -"]);
        let unclaimed = issue(pb::IssueCode::NoCapacity, "all are full");
        let fourth = told(&mut lines, changed(&[unclaimed]));
        let over = "issue over: WARNING RELAY_STALLED since -: no progress";
        let begun = "issue WARNING NO_CAPACITY since -: all are full";
        assert_eq!(fourth, [over, begun]);
        assert_eq!(told(&mut lines, changed(&[])), ["no issues"]);
    }

    #[test]
    fn after_an_interruption_issues_are_neither_repeated_nor_missed() {
        let mut lines = Lines::default();
        let lost = issue(pb::IssueCode::PublisherLost, "");
        let synced = || Event::Synced(pb::WatchSynced {});
        assert_eq!(told(&mut lines, synced()), ["synced"]);
        told(&mut lines, changed(std::slice::from_ref(&lost)));

        // It is still there.
        lines.of(&Update::Started, &View::default());
        let again = told(&mut lines, changed(&[lost]));
        assert_eq!(again, [""; 0]);
        assert_eq!(told(&mut lines, synced()), ["synced"]);

        // It ended meanwhile, so that there is none to send.
        lines.of(&Update::Started, &View::default());
        assert_eq!(told(&mut lines, synced()), ["no issues", "synced"]);
        assert_eq!(told(&mut lines, synced()), ["synced"]);
    }
}
