use std::{collections::BTreeMap, time::Duration};

use prost::Message;
use prost_types::FileDescriptorSet;
use sluice::{
    domain::{NodeId, QuotaExcess, QuotaKind, RefusalCause, Role, Scope, now},
    error::{Error, FoundInstead, PasskeyFault, add_details},
    proto::DESCRIPTORS,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The values of `ErrorReason` with their comments, without the prefix.
fn reasons() -> BTreeMap<String, String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let file = files
        .iter()
        .find(|file| file.name() == "sluice/v1/error.proto")
        .unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let values = file.enum_type[0].value.iter().enumerate().skip(1);
    values
        .map(|(at, value)| {
            // Field 5 of a file is its enums, field 2 of an enum its values.
            let location = locations
                .iter()
                .find(|location| location.path == [5, 0, 2, at as i32])
                .unwrap();
            let name = value.name().strip_prefix("ERROR_REASON_").unwrap();
            (
                name.to_owned(),
                location.leading_comments().trim().to_owned(),
            )
        })
        .collect()
}

fn one_of_each() -> Vec<Error> {
    vec![
        Error::invalid("display_name", "must not be empty"),
        Error::AccessTokenMissing,
        Error::AccessTokenExpired,
        Error::AccessTokenInvalid,
        Error::AccessTokenMalformed(FoundInstead::ApiKey),
        Error::CredentialsInvalid,
        Error::ReauthenticationRequired,
        Error::SecondFactorRequired,
        Error::SecondFactorInvalid,
        Error::SecondFactorLimit,
        Error::PasskeyInvalid(PasskeyFault::Challenge),
        Error::PasskeysDisabled,
        Error::RefreshTokenInvalid,
        Error::RefreshTokenReused,
        Error::ApiKeyInvalid,
        Error::ScopeMissing(Scope::ProjectsRead),
        Error::RoleInsufficient(Role::Admin),
        Error::OrganizationSuspended,
        Error::SecondFactorMissing,
        Error::OrganizationPersonal,
        Error::LastOwner,
        Error::OrganizationLimit,
        Error::MemberLimit,
        Error::InvitationLimit,
        Error::EmailUnverified,
        Error::SessionRequired,
        Error::ApiKeyRestricted,
        Error::NodeMismatch(NodeId::parse("n1").unwrap()),
        Error::AccountSuspended,
        Error::StreamKeyInvalid,
        Error::NotFound {
            noun: "project",
            id: "1".to_owned(),
        },
        Error::EmailTaken,
        Error::PublishRefused(RefusalCause::Conflict),
        Error::PublishRefused(RefusalCause::Disabled),
        Error::PublishRefused(RefusalCause::Held(now())),
        Error::PublishRefused(RefusalCause::ConnectionEnded),
        Error::NodeSuperseded,
        Error::DestinationLimit,
        Error::QuotaExceeded(QuotaExcess {
            kind: QuotaKind::Projects,
            limit: 5,
        }),
        Error::ProjectLive,
        Error::ConcurrentChange,
        Error::EtagMismatch,
        Error::ResyncRequired,
        Error::Draining,
        Error::ResponseNotRead,
        Error::TooManyConnectionCalls,
        Error::MetadataTooLarge,
        Error::TooManyProjects(1),
        Error::TooManyWatches,
        Error::PasswordQueueFull(Duration::from_secs(1)),
        Error::TooManyAttempts(Duration::from_secs(1)),
        Error::RateLimited(Duration::from_secs(1)),
        Error::StreamNotLive,
        Error::NoRelayWorker,
        Error::CheckUnanswered,
        Error::WebhookLimit,
        Error::WebhookEventExpired,
        Error::DeadlineExceeded,
        Error::Overloaded(Duration::from_secs(1)),
        Error::RequestTooLarge(1),
        Error::RequestMalformed,
        Error::StorageFull(sqlx::Error::PoolTimedOut),
        Error::IdTokenInvalid,
        Error::IssuerUnavailable(anyhow::anyhow!("no route")),
        Error::MailTokenInvalid,
        Error::MailDisabled,
        Error::Starting,
        Error::DatabaseUnavailable(sqlx::Error::PoolTimedOut),
        Error::internal(anyhow::anyhow!("select secret from users")),
    ]
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Internal => "INTERNAL",
        other => panic!("no error of ours has the code {other:?}"),
    }
}

#[test]
fn every_reason_is_used_with_the_code_that_its_comment_names() {
    let mut documented = reasons();
    for error in one_of_each() {
        let status = Status::from(error);
        let reason = status.get_details_error_info().unwrap().reason;
        let comment = documented
            .remove(&reason)
            .unwrap_or_else(|| panic!("{reason} is not listed"));
        assert!(
            comment.starts_with(code_name(status.code())),
            "{reason}: {comment}"
        );
    }
    // This one is added to errors of libraries only.
    let comment = documented.remove("METHOD_UNAVAILABLE").unwrap();
    assert!(comment.starts_with("UNIMPLEMENTED"), "{comment}");
    documented.retain(|_, comment| !comment.starts_with("Not used any more"));
    assert_eq!(
        documented.into_keys().collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}

#[test]
fn an_error_of_a_library_gets_a_reason_and_keeps_its_message() {
    for (code, reason) in [
        (Code::Unimplemented, "METHOD_UNAVAILABLE"),
        (Code::NotFound, "RESOURCE_NOT_FOUND"),
        (Code::InvalidArgument, "REQUEST_MALFORMED"),
        (Code::Unknown, "INTERNAL"),
    ] {
        let bare = Status::new(code, "a message").into_http::<()>();
        let mut headers = bare.into_parts().0.headers;

        add_details(&mut headers);

        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!((status.code(), status.message()), (code, "a message"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), (reason, "sluice.v1"));
    }
    let ours = Status::from(Error::Draining).into_http::<()>();
    let mut headers = ours.into_parts().0.headers;
    let before = headers.clone();
    add_details(&mut headers);
    assert_eq!(headers, before);
}

#[test]
fn the_end_of_a_watch_states_its_cause_and_the_last_revision() {
    for cause in [Error::Draining, Error::AccessTokenInvalid, Error::OutOfDate] {
        let alone = cause.reason();
        let ended = Error::WatchEnded {
            cause: Box::new(cause),
            last_revision: 7,
        };
        let status = Status::from(ended);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.reason, &*info.metadata["last_revision"]),
            (alone, "7")
        );
    }
}

#[test]
fn the_error_for_another_node_names_the_node_of_the_key() {
    let status = Status::from(Error::NodeMismatch(NodeId::parse("n1").unwrap()));

    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["node_id"], "n1");
    assert!(status.message().contains("n1"), "{}", status.message());
}

#[test]
fn a_suspended_account_has_one_reason_for_signing_in_and_for_publishing() {
    let [sign_in, publish] = [
        Error::AccountSuspended,
        Error::PublishRefused(RefusalCause::Suspended),
    ]
    .map(Status::from);

    assert_eq!(sign_in.code(), publish.code());
    let reason = |status: &Status| status.get_details_error_info().unwrap().reason;
    assert_eq!(reason(&sign_in), reason(&publish));
}

/// A caller must not learn which keys were valid before.
#[test]
fn a_replaced_stream_key_is_refused_like_an_unknown_one() {
    let replaced = Status::from(Error::PublishRefused(RefusalCause::KeyReplaced));
    let unknown = Status::from(Error::StreamKeyInvalid);

    assert_eq!(replaced.code(), unknown.code());
    assert_eq!(replaced.message(), unknown.message());
    assert_eq!(replaced.details(), unknown.details());
}

#[test]
fn an_internal_error_is_returned_without_its_cause() {
    let status = Status::from(Error::internal(anyhow::anyhow!("select secret from users")));

    assert_eq!(status.message(), "internal error");
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(!details.contains("select"), "{details}");
}
