use chrono::SecondsFormat;

use crate::{
    domain::{Event, EventGap, ProjectId, Time, WebhookEventType, WebhookMessage},
    error::{Error, Result},
};

/// The longest body, in bytes. All fields of events have limits far below it.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Writes the `data` of an event.
pub type WriteEvent = fn(ProjectId, Event) -> Result<String>;

/// Writes the `data` of a gap.
pub type WriteGap = fn(ProjectId, EventGap) -> Result<String>;

/// Writes messages. Their `data` are messages of the API, which only the services know.
#[derive(Debug, Clone, Copy)]
pub struct EventWriter {
    /// Writes the `data` of an event.
    pub event: WriteEvent,
    /// Writes the `data` of a gap.
    pub gap: WriteGap,
}

impl EventWriter {
    /// The message of an event. Its id is the same whenever it is written.
    pub fn event(&self, project_id: ProjectId, event: Event) -> Result<WebhookMessage> {
        let (revision, time) = (event.revision, event.create_time);
        let event_type = WebhookEventType::of(&event);
        let id = format!("evt_{}_{revision}", project_id.uuid().simple());
        let data = (self.event)(project_id, event)?;
        message(id, event_type, time, &data)
    }

    /// The message of a gap, which was found at a time.
    pub fn gap(&self, project_id: ProjectId, gap: EventGap, now: Time) -> Result<WebhookMessage> {
        let EventGap { first, last } = gap;
        let id = format!("gap_{}_{first}_{last}", project_id.uuid().simple());
        let data = (self.gap)(project_id, gap)?;
        message(id, WebhookEventType::EventsGap, now, &data)
    }
}

/// A message with this `data`.
pub(crate) fn message(
    id: String,
    event_type: WebhookEventType,
    time: Time,
    data: &str,
) -> Result<WebhookMessage> {
    // Neither the type nor the time has characters to escape.
    let (name, time) = (
        event_type.as_str(),
        time.to_rfc3339_opts(SecondsFormat::Micros, true),
    );
    let body = format!(r#"{{"type":"{name}","timestamp":"{time}","data":{data}}}"#);
    if body.len() > MAX_BODY_BYTES {
        let error = anyhow::anyhow!("the body of a message has {} bytes", body.len());
        return Err(Error::internal(error));
    }
    Ok(WebhookMessage {
        id,
        event_type,
        body,
    })
}
