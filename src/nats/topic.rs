use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::domain::ProjectId;

/// The prefix of the subjects of projects.
const PROJECTS: &str = "sluice.v1.projects.";

/// The prefix of the subjects of media servers.
const NODES: &str = "sluice.v1.nodes.";

/// The bytes of a node id that are encoded. A dot separates the tokens of a subject, and `*` and `>`
/// are wildcards.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// What a message or a subscription is about. It is displayed as the subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `sluice.v1.projects.<id>`: the project has changed.
    Project(ProjectId),
    /// `sluice.v1.nodes.<id>`: relays of this media server can be claimed. Characters of the id other
    /// than letters, digits, hyphens and underscores are percent-encoded.
    Node(String),
    /// `sluice.v1.projects.*`, to subscribe to all projects.
    AllProjects,
    /// `sluice.v1.nodes.*`, to subscribe to all media servers.
    AllNodes,
}

impl Topic {
    /// The topic of a message; `None` if no replica sends such a subject.
    pub fn of_message(subject: &str) -> Option<Self> {
        let topic = match (subject.strip_prefix(PROJECTS), subject.strip_prefix(NODES)) {
            (Some(id), _) => Self::Project(ProjectId::parse(id).ok()?),
            (_, Some(id)) => {
                let id = percent_decode_str(id).decode_utf8().ok()?;
                Self::Node(id.into_owned())
            }
            (None, None) => return None,
        };
        // Each topic has one subject.
        (topic.to_string() == subject).then_some(topic)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(id) => write!(f, "{PROJECTS}{}", id.uuid().hyphenated()),
            Self::Node(id) => write!(f, "{NODES}{}", utf8_percent_encode(id, ENCODED)),
            Self::AllProjects => write!(f, "{PROJECTS}*"),
            Self::AllNodes => write!(f, "{NODES}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Topic;
    use crate::domain::ProjectId;

    #[test]
    fn a_topic_is_read_from_its_subject() {
        let id = ProjectId::generate();
        let node = |id: &str| Topic::Node(id.to_owned());
        for (topic, subject) in [
            (Topic::Project(id), format!("sluice.v1.projects.{id}")),
            (node("edge-1_a"), "sluice.v1.nodes.edge-1_a".to_owned()),
            (
                node("a.example.com:*>%"),
                "sluice.v1.nodes.a%2Eexample%2Ecom%3A%2A%3E%25".to_owned(),
            ),
        ] {
            assert_eq!(topic.to_string(), subject);
            assert_eq!(Topic::of_message(&subject), Some(topic));
        }
    }

    #[test]
    fn a_subject_that_no_replica_sends_has_no_topic() {
        let id = ProjectId::generate();
        for subject in [
            "",
            "sluice.v1.projects",
            "sluice.v1.projects.",
            "sluice.v1.projects.*",
            "sluice.v1.projects.x",
            "sluice.v1.nodes.a.b",
            "sluice.v1.nodes.*",
            "sluice.v1.nodes.%ff",
            "sluice.v1.nodes.%61",
            &format!("sluice.v1.projects.{}", id.uuid().simple()),
            &format!("sluice.v1.projects.{id}").to_uppercase(),
            &format!("sluice.v2.projects.{id}"),
            &format!("sluice.v1.projects.{id}.x"),
        ] {
            assert_eq!(Topic::of_message(subject), None, "{subject}");
        }
    }
}
