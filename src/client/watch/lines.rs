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
use crate::proto::v1::{self as pb, watch_project_response::Event};

/// The lines that tell what an update has changed. `view` is the state after it; `last_refusal`
/// is the newest refusal that was told.
pub(super) fn lines(
    update: &Update,
    view: &View,
    last_refusal: &mut Option<prost_types::Timestamp>,
) -> Vec<String> {
    let lines = match update {
        Update::Interrupted { sentence, delay } => {
            let seconds = delay.as_secs_f64();
            vec![format!(
                "- interrupted: {sentence}; next attempt in {seconds:.1} s"
            )]
        }
        Update::Statistics(..) => Vec::new(),
        Update::Refusals(refusals) => refusal_lines(refusals, last_refusal),
        Update::Message(message) => message_lines(message, view),
    };
    lines.into_iter().map(printable).collect()
}

fn message_lines(message: &pb::WatchProjectResponse, view: &View) -> Vec<String> {
    let at = format!(
        "{} revision {}",
        time(message.create_time),
        message.revision
    );
    let Some(event) = &message.event else {
        return Vec::new();
    };
    match event {
        Event::Heartbeat(_) => Vec::new(),
        Event::Synced(_) => vec![format!("{at} synced")],
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

/// The refusals that were not told yet, oldest first.
fn refusal_lines(
    refusals: &[pb::Refusal],
    last: &mut Option<prost_types::Timestamp>,
) -> Vec<String> {
    let is_later = |one: &prost_types::Timestamp, other: &prost_types::Timestamp| {
        (one.seconds, one.nanos) > (other.seconds, other.nanos)
    };
    let is_new = |refusal: &&pb::Refusal| match (&refusal.create_time, &*last) {
        (Some(time), Some(last)) => is_later(time, last),
        _ => true,
    };
    let new: Vec<_> = refusals.iter().take_while(is_new).collect();
    let line = |refusal: &&pb::Refusal| {
        format!(
            "{} refused {} node {} publisher {}",
            time(refusal.create_time),
            refusals::reason(refusal),
            or_dash(&refusal.node_id),
            or_dash(&refusal.peer_prefix)
        )
    };
    let lines = new.iter().rev().map(line).collect();
    if let Some(newest) = refusals.first() {
        *last = newest.create_time;
    }
    lines
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
