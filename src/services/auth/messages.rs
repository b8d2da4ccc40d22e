//! Conversions between AuthService's messages and the domain.

use prost::Message;
use uuid::Uuid;

use super::{
    factor_messages::{FactorResponse, read_optional_factor},
    sessions::TokenPair,
};
use crate::{
    auth::{AccessToken, PublicKey, Sealer},
    domain::{
        ApiKey, AuditEvent, CreateTimeRange, Email, EmailChange, Invalid, Name, NewApiKey,
        OrganizationId, Password, ProjectId, Scope, Scopes, Session, SessionId, SessionTimeouts,
        Tenant, Time, User, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::IdempotencyKey,
    services::{
        fields::{
            Fields, duration, idempotency_key, read_created, read_idempotency, read_organization,
            read_request_id, read_timestamp, remaining, timestamp,
        },
        paging::{PageRequest, PageTokens},
    },
};

/// The most projects to which an API key can be restricted.
const MAX_PROJECTS: usize = 100;

/// The token type of access tokens (RFC 6750).
const TOKEN_TYPE: &str = "Bearer";

/// A new account.
#[derive(Debug)]
pub(super) struct SignUp {
    pub email: Email,
    pub password: Password,
    pub display_name: Name,
    pub idempotency: Option<IdempotencyKey>,
}

impl SignUp {
    /// Reads the request. `password` is the result of checking its password.
    pub fn read(
        message: pb::SignUpRequest,
        password: Result<Password, Invalid>,
        sealer: &Sealer,
    ) -> Result<Self, Error> {
        let pb::SignUpRequest {
            email,
            password: _,
            display_name,
            request_id: id,
        } = message;
        Fields::read_all(|fields| {
            let email = fields.read("email", Email::parse(&email));
            let password = fields.read("password", password);
            let display_name = fields.read("display_name", Name::parse(&display_name));
            let id = fields.read("request_id", read_request_id(&id));
            let (email, display_name) = (email?, display_name?);

            // The account has no owner yet. The password is verified against the account
            // instead.
            let content = [email.key(), display_name.as_str()].join("\n");
            let idempotency = id?
                .map(|id| idempotency_key(Uuid::nil(), id, "SignUp", content.as_bytes(), sealer));
            Some(Self {
                email,
                password: password?,
                display_name,
                idempotency,
            })
        })
    }
}

/// The credentials of a SignIn request.
#[derive(Debug)]
pub(super) struct SignIn {
    pub email: Email,
    pub password: Password,
    pub factor: Option<FactorResponse>,
}

impl SignIn {
    pub fn read(message: pb::SignInRequest) -> Result<Self, Error> {
        let pb::SignInRequest {
            email,
            password,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = message;
        Fields::read_all(|fields| {
            let email = fields.read("email", Email::parse(&email));
            let password = fields.read("password", Password::parse(&password));
            let factor = read_optional_factor(fields, &code, &assertion);
            Some(Self {
                email: email?,
                password: password?,
                factor: factor?,
            })
        })
    }
}

impl From<AccessToken> for pb::ReauthenticateResponse {
    fn from(token: AccessToken) -> Self {
        Self {
            access_token: token.token.expose().to_owned(),
            access_token_expire_time: Some(timestamp(token.expire_time)),
            token_type: TOKEN_TYPE.to_owned(),
        }
    }
}

/// The passwords of a ChangePassword request.
#[derive(Debug)]
pub(super) struct ChangePassword {
    pub current: Password,
    pub new: Password,
}

impl ChangePassword {
    /// Reads the request. `new` is the result of checking its new password.
    pub fn read(
        message: pb::ChangePasswordRequest,
        new: Result<Password, Invalid>,
    ) -> Result<Self, Error> {
        let pb::ChangePasswordRequest {
            current_password,
            new_password: _,
        } = message;
        Fields::read_all(|fields| {
            let current = fields.read("current_password", Password::parse(&current_password));
            let new = fields.read("new_password", new);
            Some(Self {
                current: current?,
                new: new?,
            })
        })
    }
}

pub(super) fn not_empty(text: &str) -> Result<(), Invalid> {
    match text.trim() {
        "" => Err(Invalid::because("must not be empty")),
        _ => Ok(()),
    }
}

/// Reads the key to create.
pub(super) fn new_api_key(
    message: pb::CreateApiKeyRequest,
    tenant: Tenant,
    sealer: &Sealer,
    now: Time,
) -> Result<(Tenant, NewApiKey, Option<IdempotencyKey>), Error> {
    let content = message.encode_to_vec();
    let pb::CreateApiKeyRequest {
        display_name,
        scopes,
        project_ids,
        expire_time,
        request_id,
        organization_id,
    } = message;
    let expire_time = expire_time.map(|time| match read_timestamp(time) {
        Ok(time) if time <= now => Err(Invalid::because("must be in the future")),
        read => read,
    });
    Fields::read_all(|fields| {
        let display_name = fields.read("display_name", Name::parse(&display_name));
        let scopes = scopes.iter().map(String::as_str);
        let scopes = fields.read("scopes", Scopes::parse(scopes, &Scope::USER_SCOPES));
        let expire_time = fields.read_optional("expire_time", expire_time);
        let project_ids = read_projects(fields, &project_ids);
        let (user, method) = (tenant.user, "CreateApiKey");
        let tenant = read_organization(fields, tenant, &organization_id);
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let key = NewApiKey {
            display_name: display_name?,
            scopes: scopes?,
            project_ids: project_ids?,
            expire_time: expire_time?,
        };
        Some((tenant?, key, idempotency?))
    })
}

/// Reads the organization, the bounds and the page of a list of keys.
pub(super) fn read_list_api_keys(
    message: &pb::ListApiKeysRequest,
    user: UserId,
    page_tokens: &PageTokens,
) -> Result<(Tenant, CreateTimeRange, PageRequest), Error> {
    Fields::read_all(|fields| {
        let tenant = Tenant::of_user(user);
        let tenant = read_organization(fields, tenant, &message.organization_id);
        let created = read_created(fields, message.created_after, message.created_before);
        let times = created.map(|range| range.to_string()).unwrap_or_default();
        let list = format!("api_keys/{tenant:?}{times}");
        let page = page_tokens.read(fields, list, message.page_size, &message.page_token);
        Some((tenant?, created?, page?))
    })
}

/// The projects to which a key is restricted, without duplicates.
fn read_projects(fields: &mut Fields, ids: &[String]) -> Option<Vec<ProjectId>> {
    if ids.len() > MAX_PROJECTS {
        let invalid = Invalid::because("must have at most 100 projects");
        return fields.read("project_ids", Err(invalid));
    }
    let mut projects: Vec<_> = ids
        .iter()
        .enumerate()
        .filter_map(|(at, id)| fields.read(&format!("project_ids[{at}]"), ProjectId::parse(id)))
        .collect();
    if projects.len() < ids.len() {
        return None;
    }

    projects.sort_by_key(|id| id.uuid());
    projects.dedup();
    Some(projects)
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        let User {
            id,
            email,
            email_verified,
            display_name,
            create_time,
            update_time,
        } = user;
        Self {
            id: id.to_string(),
            email,
            email_verified,
            display_name,
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
        }
    }
}

/// A requested change of the address of a user.
pub(super) fn email_change_message(change: EmailChange, user: &User) -> pb::EmailChange {
    let (awaits_current_email, awaits_new_email) =
        (change.awaits_current_email(user), change.awaits_new_email());
    let EmailChange {
        new_email,
        create_time,
        expire_time,
        current_confirm_time: _,
        new_confirm_time: _,
    } = change;
    pb::EmailChange {
        new_email,
        awaits_current_email,
        awaits_new_email,
        create_time: Some(timestamp(create_time)),
        expire_time: Some(timestamp(expire_time)),
    }
}

impl From<TokenPair> for pb::Tokens {
    fn from(tokens: TokenPair) -> Self {
        let TokenPair {
            access,
            refresh_token,
            refresh_token_expire_time,
        } = tokens;
        Self {
            access_token: access.token.expose().to_owned(),
            access_token_expire_time: Some(timestamp(access.expire_time)),
            refresh_token: refresh_token.expose().to_owned(),
            refresh_token_expire_time: Some(timestamp(refresh_token_expire_time)),
            token_type: TOKEN_TYPE.to_owned(),
        }
    }
}

/// The message of a session for a caller with the session `current`.
pub(super) fn session_message(
    session: Session,
    current: SessionId,
    timeouts: SessionTimeouts,
) -> pb::Session {
    let expire_time = timeouts.end_of(&session);
    let Session {
        id,
        user_id: _,
        refresh_seed: _,
        refresh_counter: _,
        origin,
        create_time,
        auth_time: _,
        last_used_time,
        expire_time: _,
    } = session;
    pb::Session {
        id: id.to_string(),
        create_time: Some(timestamp(create_time)),
        last_used_time: Some(timestamp(last_used_time)),
        expire_time: Some(timestamp(expire_time)),
        peer_address: origin.address(),
        user_agent: origin.user_agent,
        current: id == current,
    }
}

impl From<AuditEvent> for pb::AuditEvent {
    fn from(event: AuditEvent) -> Self {
        let AuditEvent {
            id,
            create_time,
            action,
            result,
            session_id,
            api_key_id,
            resource_id,
            origin,
        } = event;
        Self {
            id: id.to_string(),
            create_time: Some(timestamp(create_time)),
            action,
            result,
            session_id: session_id.map(|id| id.to_string()).unwrap_or_default(),
            api_key_id: api_key_id.map(|id| id.to_string()).unwrap_or_default(),
            resource_id: resource_id.map(|id| id.to_string()).unwrap_or_default(),
            peer_address: origin.address(),
            user_agent: origin.user_agent,
        }
    }
}

impl From<(AccessToken, Scopes)> for pb::ExchangeApiKeyResponse {
    fn from((token, scopes): (AccessToken, Scopes)) -> Self {
        Self {
            access_token: token.token.expose().to_owned(),
            access_token_expire_time: Some(timestamp(token.expire_time)),
            access_token_lifetime: Some(duration(remaining(token.expire_time))),
            token_type: TOKEN_TYPE.to_owned(),
            scopes: scope_names(scopes),
        }
    }
}

impl From<ApiKey> for pb::ApiKey {
    fn from(key: ApiKey) -> Self {
        let ApiKey {
            id,
            user_id,
            organization_id,
            display_name,
            scopes,
            restricted,
            project_ids,
            node_id: _,
            create_time,
            expire_time,
            last_used_time,
        } = key;
        let personal = user_id.map(OrganizationId::personal);
        let organization_id = organization_id.or(personal);
        Self {
            id: id.to_string(),
            user_id: user_id.map(|id| id.to_string()).unwrap_or_default(),
            organization_id: organization_id.map(|id| id.to_string()).unwrap_or_default(),
            display_name,
            scopes: scope_names(scopes),
            project_ids: project_ids.iter().map(ToString::to_string).collect(),
            expire_time: expire_time.map(timestamp),
            last_used_time: last_used_time.map(timestamp),
            create_time: Some(timestamp(create_time)),
            restricted,
        }
    }
}

impl From<&PublicKey> for pb::JsonWebKey {
    fn from(key: &PublicKey) -> Self {
        let PublicKey { id, x } = key;
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: x.clone(),
            kid: id.clone(),
            alg: "EdDSA".to_owned(),
            r#use: "sig".to_owned(),
        }
    }
}

fn scope_names(scopes: Scopes) -> Vec<String> {
    let names = scopes.iter().map(|scope| scope.as_str().to_owned());
    names.collect()
}
