//! Conversions between OperatorService's messages and the domain.

use crate::{
    auth::{ApiKeySecret, Sealer},
    domain::{
        ApiKeyId, AuditFilter, Email, Invalid, Name, Node, NodeId, OperatorAuditEvent, OperatorKey,
        OperatorKeyState, OperatorLiveStream, OrganizationAccount, OrganizationAccountFilter,
        OrganizationState, Scope, Scopes, Time, UserAccount, UserFilter, UserId, UserState, Worker,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{NewOperatorKey, NewSecret},
    services::{
        enums::read_filter,
        fields::{
            Fields, idempotency_key, read_created, read_id, read_request_id, read_timestamp,
            timestamp,
        },
        paging::{PageRequest, PageTokens},
    },
};

/// The longest action in a filter, in bytes.
const MAX_ACTION_BYTES: usize = 64;

/// An operator key to create, with its secret.
pub(super) struct CreateOperatorKey {
    pub key: NewOperatorKey,
    pub secret: ApiKeySecret,
}

impl CreateOperatorKey {
    /// Reads the request of the key `creator`.
    pub fn read(
        message: pb::CreateOperatorKeyRequest,
        creator: ApiKeyId,
        sealer: &Sealer,
        now: Time,
    ) -> Result<Self, Error> {
        let pb::CreateOperatorKeyRequest {
            display_name,
            scopes,
            expire_time,
            node_id,
            request_id,
        } = message;
        Fields::read_all(|fields| {
            let display_name = fields.read("display_name", Name::parse(&display_name));
            let names = scopes.iter().map(String::as_str);
            let scopes = fields.read("scopes", Scopes::parse(names, &Scope::OPERATOR_SCOPES));
            let expire_time =
                fields.read_optional("expire_time", expire_time.map(|time| in_future(time, now)));
            let node_id = fields.read("node_id", read_node(&node_id, scopes));
            let request_id = fields.read("request_id", read_request_id(&request_id));
            let (display_name, scopes, node_id) = (display_name?, scopes?, node_id?);
            let (expire_time, request_id) = (expire_time?, request_id?);

            let id = ApiKeyId::generate();
            let content = [
                display_name.as_str(),
                &scopes.to_string(),
                &expire_time
                    .map(|time| time.to_rfc3339())
                    .unwrap_or_default(),
                node_id.as_ref().map(NodeId::as_str).unwrap_or_default(),
            ];
            let content = content.join("\n");
            let idempotency = request_id.map(|request_id| {
                let (owner, content) = (creator.uuid(), content.as_bytes());
                idempotency_key(owner, request_id, "CreateOperatorKey", content, sealer)
            });
            let secret = ApiKeySecret::generate(id);
            let key = NewOperatorKey {
                id,
                display_name,
                scopes,
                node_id,
                expire_time,
                secret: NewSecret::new(id, &secret, idempotency, sealer),
            };
            Some(Self { key, secret })
        })
    }
}

fn in_future(time: prost_types::Timestamp, now: Time) -> Result<Time, Invalid> {
    match read_timestamp(time) {
        Ok(time) if time <= now => Err(Invalid::because("must be in the future")),
        read => read,
    }
}

/// Reads the node that a key is bound to.
fn read_node(text: &str, scopes: Option<Scopes>) -> Result<Option<NodeId>, Invalid> {
    let node = NodeId::parse_optional(text)?;
    let is_of_node = |scopes: Scopes| scopes.iter().all(|one| Scope::NODE_SCOPES.contains(&one));
    match (&node, scopes) {
        (Some(_), Some(scopes)) if !is_of_node(scopes) => Err(Invalid::because(
            "must be empty unless all scopes are streams:publish or relays:work",
        )),
        _ => Ok(node),
    }
}

/// Reads the key, and whether those that it created are meant too.
pub(super) fn read_revoke_key(
    message: pb::RevokeOperatorKeyRequest,
) -> Result<(ApiKeyId, bool), Error> {
    let pb::RevokeOperatorKeyRequest {
        operator_key_id,
        include_created,
    } = message;
    Ok((
        read_id("operator_key_id", &operator_key_id)?,
        include_created,
    ))
}

/// Reads the state, the node and the page.
pub(super) fn read_list_keys(
    message: pb::ListOperatorKeysRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(Option<OperatorKeyState>, Option<NodeId>, PageRequest), Error> {
    let pb::ListOperatorKeysRequest {
        state,
        node_id,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let state = fields.read("state", read_filter(state));
        let node_id = fields.read("node_id", NodeId::parse_optional(&node_id));
        let list = format!("operator_keys/{caller}/{state:?}/{node_id:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        Some((state?, node_id?, list?))
    })
}

/// Reads the filter and the page.
pub(super) fn read_list_users(
    message: pb::ListUsersRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(UserFilter, PageRequest), Error> {
    let pb::ListUsersRequest {
        email,
        state,
        created_after,
        created_before,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let email = fields.read_optional("email", not_empty(&email).map(Email::parse));
        let state = fields.read("state", read_filter::<UserState>(state));
        let created = read_created(fields, created_after, created_before);
        let list = format!("users/{caller}/{email:?}/{state:?}/{created:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        let filter = UserFilter {
            email: email?,
            state: state?,
            created: created?,
        };
        Some((filter, list?))
    })
}

/// Reads the filter and the page.
pub(super) fn read_list_organizations(
    message: pb::OperatorServiceListOrganizationsRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(OrganizationAccountFilter, PageRequest), Error> {
    let pb::OperatorServiceListOrganizationsRequest {
        user_id,
        state,
        created_after,
        created_before,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let user_id = fields.read_optional_id("user_id", &user_id);
        let state = fields.read("state", read_filter::<OrganizationState>(state));
        let created = read_created(fields, created_after, created_before);
        let list = format!("organizations/{caller}/{user_id:?}/{state:?}/{created:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        let filter = OrganizationAccountFilter {
            user_id: user_id?,
            state: state?,
            created: created?,
        };
        Some((filter, list?))
    })
}

/// Reads the time of the last report and the page.
pub(super) fn read_list_nodes(
    message: pb::ListNodesRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(Option<Time>, PageRequest), Error> {
    let pb::ListNodesRequest {
        reported_after,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let after = fields.read_optional("reported_after", reported_after.map(read_timestamp));
        let list = format!("nodes/{caller}/{after:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        after.zip(list)
    })
}

/// Reads the node and the page.
pub(super) fn read_list_workers(
    message: pb::ListWorkersRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(Option<NodeId>, PageRequest), Error> {
    let pb::ListWorkersRequest {
        node_id,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let node_id = fields.read("node_id", NodeId::parse_optional(&node_id));
        let list = format!("workers/{caller}/{node_id:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        node_id.zip(list)
    })
}

/// Reads the owner, the node and the page.
pub(super) fn read_list_live_streams(
    message: pb::ListLiveStreamsRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(Option<UserId>, Option<NodeId>, PageRequest), Error> {
    let pb::ListLiveStreamsRequest {
        user_id,
        node_id,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let owner = fields.read_optional("user_id", not_empty(&user_id).map(UserId::parse));
        let node_id = fields.read("node_id", NodeId::parse_optional(&node_id));
        let list = format!("live_streams/{caller}/{owner:?}/{node_id:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        Some((owner?, node_id?, list?))
    })
}

/// Reads the node to drain or to resume.
pub(super) fn read_node_id(node_id: &str) -> Result<NodeId, Error> {
    Fields::read_all(|fields| fields.read("node_id", NodeId::parse(node_id)))
}

/// Reads the filter and the page.
pub(super) fn read_list_audit_events(
    message: pb::OperatorServiceListAuditEventsRequest,
    caller: ApiKeyId,
    page_tokens: &PageTokens,
) -> Result<(AuditFilter, PageRequest), Error> {
    let pb::OperatorServiceListAuditEventsRequest {
        user_id,
        operator_key_id,
        action,
        created_after,
        created_before,
        page_size,
        page_token,
    } = message;
    Fields::read_all(|fields| {
        let user_id = fields.read_optional("user_id", not_empty(&user_id).map(UserId::parse));
        let key = not_empty(&operator_key_id).map(ApiKeyId::parse);
        let key = fields.read_optional("operator_key_id", key);
        let action = fields.read_optional("action", not_empty(&action).map(read_action));
        let created = read_created(fields, created_after, created_before);
        let list = format!("all_audit_events/{caller}/{user_id:?}/{key:?}/{action:?}/{created:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        let filter = AuditFilter {
            user_id: user_id?,
            api_key_id: key?,
            action: action?,
            created: created?,
        };
        Some((filter, list?))
    })
}

fn not_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn read_action(text: &str) -> Result<String, Invalid> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match is_name && text.len() <= MAX_ACTION_BYTES {
        true => Ok(text.to_owned()),
        false => Err(Invalid::because(
            "must be the name of an RPC such as SuspendUser, or empty",
        )),
    }
}

/// The message of an operator key, with its state at a time.
pub(crate) fn key_message(key: OperatorKey, now: Time) -> pb::OperatorKey {
    let state = pb::OperatorKeyState::from(key.state(now)).into();
    let OperatorKey {
        id,
        display_name,
        scopes,
        node_id,
        create_time,
        expire_time,
        last_used_time,
        revoke_time,
        creator_id,
    } = key;
    pb::OperatorKey {
        id: id.to_string(),
        display_name,
        scopes: scopes.iter().map(|one| one.as_str().to_owned()).collect(),
        node_id: node_id.map(|id| id.to_string()).unwrap_or_default(),
        state,
        create_time: Some(timestamp(create_time)),
        expire_time: expire_time.map(timestamp),
        last_used_time: last_used_time.map(timestamp),
        revoke_time: revoke_time.map(timestamp),
        creator_key_id: creator_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

impl From<UserAccount> for pb::UserAccount {
    fn from(account: UserAccount) -> Self {
        let state = pb::UserState::from(account.state()).into();
        let UserAccount {
            user,
            suspend_time,
            project_count,
            live_stream_count,
        } = account;
        Self {
            user: Some(user.into()),
            state,
            suspend_time: suspend_time.map(timestamp),
            project_count: count(project_count),
            live_stream_count: count(live_stream_count),
        }
    }
}

impl From<OrganizationAccount> for pb::OrganizationAccount {
    fn from(account: OrganizationAccount) -> Self {
        let state = pb::OrganizationState::from(account.state()).into();
        let OrganizationAccount {
            id,
            display_name,
            create_time,
            suspend_time,
            member_count,
            project_count,
            live_stream_count,
        } = account;
        Self {
            id: id.to_string(),
            display_name,
            state,
            create_time: Some(timestamp(create_time)),
            suspend_time: suspend_time.map(timestamp),
            member_count: count(member_count),
            project_count: count(project_count),
            live_stream_count: count(live_stream_count),
        }
    }
}

impl From<Node> for pb::Node {
    fn from(node: Node) -> Self {
        let Node {
            id: _,
            node_id,
            boot_id,
            boot_time,
            create_time,
            last_report_time,
            live_stream_count,
            drain_time,
        } = node;
        Self {
            node_id,
            boot_id,
            boot_time: Some(timestamp(boot_time)),
            last_report_time: Some(timestamp(last_report_time)),
            live_stream_count: count(live_stream_count),
            create_time: Some(timestamp(create_time)),
            drain_time: drain_time.map(timestamp),
        }
    }
}

impl From<Worker> for pb::Worker {
    fn from(worker: Worker) -> Self {
        let Worker {
            id: _,
            worker_id,
            node_id,
            capacity,
            relay_count,
            create_time,
            last_claim_time,
            api_key_id,
        } = worker;
        Self {
            worker_id,
            node_id,
            capacity: count(capacity),
            relay_count: count(relay_count),
            create_time: Some(timestamp(create_time)),
            last_claim_time: Some(timestamp(last_claim_time)),
            operator_key_id: api_key_id.to_string(),
        }
    }
}

impl From<OperatorLiveStream> for pb::LiveStream {
    fn from(live: OperatorLiveStream) -> Self {
        let OperatorLiveStream {
            stream,
            organization_id,
            personal,
            project_name,
            relay_count,
        } = live;
        let organization_id = organization_id.to_string();
        let user_id = personal.then(|| organization_id.clone());
        Self {
            stream: Some(stream.into()),
            user_id: user_id.unwrap_or_default(),
            organization_id,
            project_display_name: project_name,
            relay_count: count(relay_count),
        }
    }
}

impl From<OperatorAuditEvent> for pb::OperatorAuditEvent {
    fn from(entry: OperatorAuditEvent) -> Self {
        let OperatorAuditEvent {
            event,
            user_id,
            operator_key_name,
        } = entry;
        Self {
            event: Some(event.into()),
            user_id: user_id.map(|id| id.to_string()).unwrap_or_default(),
            operator_key_display_name: operator_key_name.unwrap_or_default(),
        }
    }
}

fn count(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
