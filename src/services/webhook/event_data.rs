//! The `data` of messages to webhooks: messages of the API as JSON.

use crate::{
    domain::{Event, EventGap, ProjectId, WebhookId},
    error::{Error, Result},
    proto::{self, v1 as pb},
    services::{fields::timestamp, stream::change_kind},
    webhooks::EventWriter,
};

/// Writes the events of projects as WatchProjects sends them.
pub fn event_writer() -> EventWriter {
    EventWriter {
        event: event_data,
        gap: gap_data,
    }
}

fn event_data(project_id: ProjectId, event: Event) -> Result<String> {
    let Event {
        revision,
        create_time,
        change,
    } = event;
    let response = pb::WatchProjectsResponse {
        project_id: project_id.to_string(),
        revision,
        create_time: Some(timestamp(create_time)),
        event: Some(change_kind(change)),
    };
    proto::json(&response, false).map_err(Error::internal)
}

fn gap_data(project_id: ProjectId, gap: EventGap) -> Result<String> {
    let EventGap { first, last } = gap;
    let gap = pb::WebhookEventsGap {
        project_id: project_id.to_string(),
        first_revision: first,
        last_revision: last,
    };
    proto::json(&gap, false).map_err(Error::internal)
}

/// The `data` of a test.
pub(super) fn test_data(id: WebhookId) -> Result<String> {
    let test = pb::WebhookTest {
        webhook_id: id.to_string(),
    };
    proto::json(&test, false).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::event_writer;
    use crate::domain::{Change, Event, ProjectId, now};

    #[test]
    fn a_message_has_the_json_of_the_api_as_its_data_and_an_id_that_is_always_the_same() {
        let project_id = ProjectId::generate();
        let event = Event {
            revision: 5,
            create_time: now(),
            change: Change::ProjectDeleted,
        };
        let first = event_writer().event(project_id, event.clone()).unwrap();
        let again = event_writer().event(project_id, event).unwrap();
        let body: serde_json::Value = serde_json::from_str(&first.body).unwrap();

        assert_eq!((&first.id, &first.body), (&again.id, &again.body));
        assert_eq!(body["type"], "project.deleted");
        assert_eq!(body["data"]["projectId"], project_id.to_string());
        assert_eq!(body["data"]["revision"], "5");
        assert_eq!(body["data"]["projectDeleted"], serde_json::json!({}));
        assert_eq!(body["timestamp"], body["data"]["createTime"]);
    }
}
