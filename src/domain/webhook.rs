use std::{fmt, time::Duration};

use super::{
    Change, Event, Invalid, Name, OrganizationId, ProjectId, StreamState, Time, WebhookDeliveryId,
    WebhookId, WebhookUrl, invalid::refuse, project::etag,
};

text_enum! {
    /// The type of an event that is sent to a webhook.
    pub enum WebhookEventType {
        /// A project was created.
        ProjectCreated = "project.created",
        /// A project's own fields or its stream key changed.
        ProjectUpdated = "project.updated",
        /// A project was deleted.
        ProjectDeleted = "project.deleted",
        /// A destination was created or changed.
        DestinationUpdated = "destination.updated",
        /// A destination was deleted.
        DestinationDeleted = "destination.deleted",
        /// A stream waits for media.
        StreamConnecting = "stream.connecting",
        /// A stream is live.
        StreamLive = "stream.live",
        /// A stream waits for its publisher to reconnect.
        StreamReconnecting = "stream.reconnecting",
        /// A stream has ended.
        StreamEnded = "stream.ended",
        /// A relay was created or changed.
        RelayUpdated = "relay.updated",
        /// Events were deleted before they could be sent.
        EventsGap = "events.gap",
        /// A test of a webhook.
        WebhookTest = "webhook.test",
    }
}

impl WebhookEventType {
    /// The type of a change.
    pub fn of(event: &Event) -> Self {
        match &event.change {
            // The first event of a project is its creation.
            Change::Project(_) if event.revision == 1 => Self::ProjectCreated,
            Change::Project(_) => Self::ProjectUpdated,
            Change::ProjectDeleted => Self::ProjectDeleted,
            Change::Destination(_) => Self::DestinationUpdated,
            Change::DestinationDeleted(_) => Self::DestinationDeleted,
            Change::Relay(_) => Self::RelayUpdated,
            Change::Stream(stream) => match stream.state {
                StreamState::Connecting => Self::StreamConnecting,
                StreamState::Live => Self::StreamLive,
                StreamState::Reconnecting => Self::StreamReconnecting,
                StreamState::Ended => Self::StreamEnded,
            },
        }
    }
}

text_enum! {
    /// Why the server has disabled a webhook.
    pub enum WebhookDisableReason {
        /// An event could not be delivered within the retry period.
        Failing = "failing",
        /// The endpoint answered 410 Gone.
        Gone = "gone",
        /// The owner of the e-mail address has taken over the account.
        AccountTakenOver = "account_taken_over",
    }
}

text_enum! {
    /// Whether an event was delivered.
    pub enum WebhookDeliveryState {
        /// The endpoint has taken it.
        Delivered = "delivered",
        /// There will be another attempt.
        Retrying = "retrying",
        /// The webhook was disabled.
        Failed = "failed",
    }
}

/// The types of events that a webhook gets, as a set of bits; empty means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WebhookEventTypes(u16);

impl WebhookEventTypes {
    /// The types that can be chosen.
    pub const CHOICES: [WebhookEventType; 10] = [
        WebhookEventType::ProjectCreated,
        WebhookEventType::ProjectUpdated,
        WebhookEventType::ProjectDeleted,
        WebhookEventType::DestinationUpdated,
        WebhookEventType::DestinationDeleted,
        WebhookEventType::StreamConnecting,
        WebhookEventType::StreamLive,
        WebhookEventType::StreamReconnecting,
        WebhookEventType::StreamEnded,
        WebhookEventType::RelayUpdated,
    ];

    /// Parses names. All must be among the choices.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let mut types = Self::default();
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Ok(types);
        }
        for name in names {
            let known = WebhookEventType::parse(name).filter(|one| Self::CHOICES.contains(one));
            match known {
                Some(known) => types.0 |= 1 << known as u16,
                None => {
                    let choices = Self::CHOICES.map(WebhookEventType::as_str).join(", ");
                    return refuse(format!("may only contain {choices}"));
                }
            }
        }
        types.exclude_others();
        Ok(types)
    }

    /// Parses the names of a column. Unknown ones, of a later version, match nothing.
    pub fn from_column(names: &str) -> Self {
        let known = names.split(' ').filter_map(WebhookEventType::parse);
        let mut types = Self(known.fold(0, |set, one| set | 1 << one as u16));
        if !names.is_empty() {
            types.exclude_others();
        }
        types
    }

    /// A set that is not empty, also if it has only types of a later version.
    fn exclude_others(&mut self) {
        self.0 |= 1 << WebhookEventType::EventsGap as u16;
    }

    /// The chosen types; empty means all.
    pub fn iter(self) -> impl Iterator<Item = WebhookEventType> {
        let choices = Self::CHOICES.into_iter();
        choices.filter(move |one| self.0 & (1 << *one as u16) != 0)
    }

    /// Whether events of a type are sent.
    pub fn contain(self, one: WebhookEventType) -> bool {
        self.0 == 0 || !Self::CHOICES.contains(&one) || self.0 & (1 << one as u16) != 0
    }
}

/// Names separated by spaces.
impl fmt::Display for WebhookEventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(WebhookEventType::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

/// An endpoint to which the events of projects are sent.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The organization that owns it.
    pub organization_id: OrganizationId,
    /// The project; `None` means all projects of the tenant.
    pub project_id: Option<ProjectId>,
    /// The endpoint.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// The types of events that are sent.
    pub event_types: WebhookEventTypes,
    /// Whether nothing is sent.
    pub disabled: bool,
    /// Why the server has disabled it, if it has.
    pub disable_reason: Option<WebhookDisableReason>,
    /// Since when no attempt has succeeded; `None` after a success.
    pub failing_since: Option<Time>,
    /// When the secret before the last rotation stops being used.
    pub previous_secret_expire_time: Option<Time>,
    /// When it was created.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
}

impl Webhook {
    /// Identifies its version (AIP-154). Attempts do not change it.
    pub fn etag(&self) -> String {
        let version = (self.id.uuid(), &self.url, &self.description, self.disabled);
        let changed = (
            self.event_types.to_string(),
            self.disable_reason,
            self.previous_secret_expire_time,
            self.update_time.timestamp_micros(),
        );
        etag(&(version, changed))
    }
}

/// The fields of a new webhook.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Its id.
    pub id: WebhookId,
    /// The project; `None` means all projects of the tenant.
    pub project_id: Option<ProjectId>,
    /// The endpoint.
    pub url: WebhookUrl,
    /// What it is for; `None` means nothing is said.
    pub description: Option<Name>,
    /// The types of events that are sent.
    pub event_types: WebhookEventTypes,
    /// Whether nothing is sent at first.
    pub disabled: bool,
    /// The sealed secret.
    pub secret_sealed: Vec<u8>,
}

/// Changes to a webhook; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct WebhookUpdate {
    /// The endpoint.
    pub url: Option<WebhookUrl>,
    /// What it is for; `Some(None)` empties it.
    pub description: Option<Option<Name>>,
    /// The types of events that are sent.
    pub event_types: Option<WebhookEventTypes>,
    /// Whether nothing is sent.
    pub disabled: Option<bool>,
}

/// What a list of deliveries contains.
#[derive(Debug, Clone, Copy)]
pub struct WebhookDeliveryFilter {
    /// Only those in this state.
    pub state: Option<WebhookDeliveryState>,
    /// Only those of this project's events.
    pub project_id: Option<ProjectId>,
}

/// An event that was sent to a webhook.
#[derive(Debug, Clone)]
pub struct WebhookDelivery {
    /// Its id.
    pub id: WebhookDeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The project of the event.
    pub project_id: ProjectId,
    /// The revision of the event; of a gap, its last revision.
    pub revision: i64,
    /// The type of the event.
    pub event_type: String,
    /// The id of the message, the same in all attempts.
    pub message_id: String,
    /// Whether it was delivered.
    pub state: WebhookDeliveryState,
    /// The number of attempts.
    pub attempts: i32,
    /// The HTTP status of the last attempt, if there was a response.
    pub status_code: Option<i32>,
    /// Why the last attempt failed; empty if it succeeded.
    pub error: String,
    /// How long the last attempt took, in milliseconds.
    pub latency_ms: i32,
    /// When it was first recorded.
    pub create_time: Time,
    /// When the last attempt ended.
    pub last_attempt_time: Time,
    /// When the next attempt is due, if one is.
    pub next_attempt_time: Option<Time>,
}

/// A message to an endpoint: its id, and its content as JSON.
#[derive(Debug, Clone)]
pub struct WebhookMessage {
    /// The header `webhook-id`: the same in all attempts.
    pub id: String,
    /// The type of the event.
    pub event_type: WebhookEventType,
    /// The body.
    pub body: String,
}

/// The revisions of events of a project that were deleted before they could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventGap {
    /// The first missing revision.
    pub first: i64,
    /// The last missing revision.
    pub last: i64,
}

/// What came of sending a message once.
#[derive(Debug, Clone)]
pub struct WebhookAttempt {
    /// The HTTP status of the response, if there was one.
    pub status_code: Option<u16>,
    /// Why it failed; `None` if the endpoint has taken the message.
    pub error: Option<String>,
    /// How long it took.
    pub latency: Duration,
    /// How long the endpoint asks to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl WebhookAttempt {
    /// Whether the endpoint has taken the message.
    pub fn is_success(&self) -> bool {
        self.error.is_none()
    }

    /// Whether the endpoint does not want any more messages.
    pub fn is_gone(&self) -> bool {
        self.status_code == Some(410)
    }

    /// How long it took, in whole milliseconds.
    pub fn latency_ms(&self) -> i32 {
        i32::try_from(self.latency.as_millis()).unwrap_or(i32::MAX)
    }
}

/// The next events of a project for a webhook, which this replica may send until the lease ends.
#[derive(Debug, Clone)]
pub struct WebhookLease {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The project.
    pub project_id: ProjectId,
    /// The revision that the endpoint has taken last.
    pub revision: i64,
    /// The failed attempts of the next event.
    pub failures: i32,
    /// The time of the first of them.
    pub failing_since: Option<Time>,
}

/// What a replica has done with a lease of events, to be recorded.
#[derive(Debug, Clone)]
pub struct WebhookProgress {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The organization.
    pub owner_id: OrganizationId,
    /// The project.
    pub project_id: ProjectId,
    /// The endpoint that was sent to.
    pub url: String,
    /// The revision that the endpoint has taken last, or that it does not want.
    pub revision: i64,
    /// The failed attempts of the next event.
    pub failures: i32,
    /// The time of the first of them.
    pub failing_since: Option<Time>,
    /// When the next events may be sent.
    pub next_attempt_time: Time,
    /// Whether to disable the webhook.
    pub disable_reason: Option<WebhookDisableReason>,
    /// What was sent, in order.
    pub deliveries: Vec<WebhookDeliveryRecord>,
}

/// One attempt to send an event, to be recorded.
#[derive(Debug, Clone)]
pub struct WebhookDeliveryRecord {
    /// The revision of the event.
    pub revision: i64,
    /// The message.
    pub message_id: String,
    /// The type of the event.
    pub event_type: WebhookEventType,
    /// What came of it.
    pub attempt: WebhookAttempt,
    /// When it ended.
    pub time: Time,
}

/// Where the messages of a webhook go, and what signs them.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// The webhook.
    pub id: WebhookId,
    /// The organization.
    pub owner_id: OrganizationId,
    /// The endpoint.
    pub url: String,
    /// The types of events that are sent.
    pub event_types: WebhookEventTypes,
    /// Since when no attempt has succeeded; `None` after a success.
    pub failing_since: Option<Time>,
    /// The sealed secret.
    pub secret_sealed: Vec<u8>,
    /// The sealed secret before, if it is still used.
    pub previous_secret_sealed: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::{WebhookEventType, WebhookEventTypes};

    #[test]
    fn the_names_of_event_types_round_trip() {
        let names = "project.created stream.live stream.ended";
        let types = WebhookEventTypes::parse(names.split(' ')).unwrap();

        assert_eq!(types.to_string(), names);
        assert_eq!(WebhookEventTypes::from_column(names), types);
        assert!(types.contain(WebhookEventType::StreamLive));
        assert!(!types.contain(WebhookEventType::RelayUpdated));
    }

    #[test]
    fn without_a_choice_every_event_is_sent_and_a_gap_always() {
        for one in WebhookEventType::ALL {
            assert!(WebhookEventTypes::default().contain(one));
        }
        let types = WebhookEventTypes::parse(["stream.live"]).unwrap();
        assert!(types.contain(WebhookEventType::EventsGap));

        let later = WebhookEventTypes::from_column("destination.checked");
        assert!(!later.contain(WebhookEventType::StreamLive));
    }

    #[test]
    fn unknown_types_and_those_that_are_always_sent_cannot_be_chosen() {
        for name in ["", "stream", "stream.*", "events.gap", "webhook.test"] {
            assert!(WebhookEventTypes::parse([name]).is_err(), "{name}");
        }
    }
}
