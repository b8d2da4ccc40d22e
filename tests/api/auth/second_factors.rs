//! Enrolment and removal of second factors.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    calls::{backdate, get_me, sign_in as sign_in_without_code},
    mail_calls::audit_entries,
    second_factor_calls::{
        Authenticator, INVALID, REQUIRED, UNKNOWN_CODE, confirm, create, delete, end_waits, enrol,
        enrol_another, list, sign_in,
    },
};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn an_authenticator_counts_from_its_confirmation(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let created = create(&ada, ada.password, "").await.unwrap().into_inner();
    let uri = format!(
        "otpauth://totp/Sluice:{}?secret={}",
        ada.email, created.secret
    );
    assert!(
        created.otpauth_uri.starts_with(&uri),
        "{}",
        created.otpauth_uri
    );
    let mut authenticator = Authenticator::new(&created);

    let refusal = refused(confirm(&ada.client, &authenticator.id, UNKNOWN_CODE).await);
    assert_eq!(refusal.class(), INVALID);
    sign_in(&server.channel, &ada, "").await.unwrap();
    assert_eq!(
        list(&ada.client).await,
        pb::ListSecondFactorsResponse::default()
    );

    let code = authenticator.next_code();
    let confirmed = confirm(&ada.client, &authenticator.id, &code)
        .await
        .unwrap();
    let confirmed = confirmed.into_inner();
    assert_eq!(confirmed.recovery_codes.len(), 10);
    assert_eq!(
        refused(sign_in(&server.channel, &ada, "").await).class(),
        REQUIRED
    );
    let listed = list(&ada.client).await;
    assert_eq!(listed.second_factors, [confirmed.second_factor.unwrap()]);
    assert_eq!(listed.second_factors[0].display_name, "Phone");
    assert_eq!(listed.unused_recovery_codes, 10);
    // The session goes on.
    get_me(&ada.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_enrolment_that_was_replaced_or_is_too_old_cannot_be_confirmed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut begun = Vec::new();
    for _ in 0..2 {
        let created = create(&ada, ada.password, "").await.unwrap().into_inner();
        begun.push(Authenticator::new(&created));
    }

    let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND");
    let code = begun[0].next_code();
    let refusal = refused(confirm(&ada.client, &begun[0].id, &code).await);
    assert_eq!(refusal.class(), not_found);
    backdate(
        &server.database,
        "second_factors",
        "create_time",
        "31 minutes",
    )
    .await;
    let code = begun[1].next_code();
    let refusal = refused(confirm(&ada.client, &begun[1].id, &code).await);
    assert_eq!(refusal.class(), not_found);
}

/// Else whoever has taken over a session could lock the owner out.
#[rstest]
#[tokio::test]
async fn an_enrolment_needs_the_password_and_a_code_if_there_is_an_authenticator(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let refusal = refused(create(&ada, "", "").await);
    assert_eq!(refusal.fields(), ["password"]);
    let refusal = refused(create(&ada, "wrong horse", "").await);
    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);

    let (mut first, codes) = enrol(&ada).await;
    for (code, class) in [("", REQUIRED), (UNKNOWN_CODE, INVALID)] {
        let refusal = refused(create(&ada, ada.password, code).await);
        assert_eq!(refusal.class(), class);
    }
    let (_, of_second) = enrol_another(&ada, &first.next_code()).await;
    assert_eq!(of_second, Vec::<String>::new());
    let (_, of_third) = enrol_another(&ada, &codes[0]).await;
    assert_eq!(of_third, Vec::<String>::new());
    assert_eq!(list(&ada.client).await.second_factors.len(), 3);
}

#[rstest]
#[tokio::test]
async fn a_user_has_at_most_five_authenticators(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (_, codes) = enrol(&ada).await;
    for code in &codes[..4] {
        enrol_another(&ada, code).await;
    }

    let refusal = refused(create(&ada, ada.password, &codes[4]).await);

    let limit = (Code::FailedPrecondition, "SECOND_FACTOR_LIMIT_REACHED");
    assert_eq!(refusal.class(), limit);
    assert_eq!(list(&ada.client).await.unused_recovery_codes, 6);
}

#[rstest]
#[tokio::test]
async fn without_the_last_authenticator_the_password_is_enough(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut first, codes) = enrol(&ada).await;
    let (second, _) = enrol_another(&ada, &codes[0]).await;

    let refusal = refused(delete(&ada.client, &second.id, UNKNOWN_CODE).await);
    assert_eq!(refusal.class(), INVALID);
    delete(&ada.client, &second.id, &first.next_code())
        .await
        .unwrap();
    assert_eq!(
        refused(sign_in(&server.channel, &ada, "").await).class(),
        REQUIRED
    );
    assert_eq!(list(&ada.client).await.unused_recovery_codes, 9);

    // Deleted with a recovery code, as after the loss of the phone.
    delete(&ada.client, &first.id, &codes[1]).await.unwrap();

    sign_in_without_code(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    assert_eq!(
        list(&ada.client).await,
        pb::ListSecondFactorsResponse::default()
    );
    let refusal = refused(delete(&ada.client, &first.id, &codes[2]).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn new_recovery_codes_replace_the_earlier_ones(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let regenerate = async |code: &str| {
        let request = pb::RegenerateRecoveryCodesRequest {
            second_factor_code: code.to_owned(),
            ..Default::default()
        };
        let mut auth = ada.client.auth.clone();
        auth.regenerate_recovery_codes(request).await
    };
    assert_eq!(refused(regenerate(UNKNOWN_CODE).await).class(), INVALID);
    let (mut authenticator, old) = enrol(&ada).await;

    assert_eq!(refused(regenerate(UNKNOWN_CODE).await).class(), INVALID);
    let new = regenerate(&authenticator.next_code()).await.unwrap();
    let new = new.into_inner().recovery_codes;

    assert_eq!(new.len(), 10);
    assert_eq!(
        refused(sign_in(&server.channel, &ada, &old[0]).await).class(),
        INVALID
    );
    sign_in(&server.channel, &ada, &new[0]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn every_change_and_every_refused_code_is_audited(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (first, codes) = enrol(&ada).await;
    let wrong = confirm(&ada.client, &first.id, UNKNOWN_CODE).await;
    assert_eq!(refused(wrong).code, Code::NotFound);
    delete(&ada.client, &first.id, UNKNOWN_CODE)
        .await
        .unwrap_err();
    let request = pb::RegenerateRecoveryCodesRequest {
        second_factor_code: codes[0].clone(),
        ..Default::default()
    };
    let mut auth = ada.client.auth.clone();
    let new = auth.regenerate_recovery_codes(request).await.unwrap();
    let new = new.into_inner().recovery_codes;
    end_waits(&server.database).await;
    delete(&ada.client, &first.id, &new[0]).await.unwrap();

    let entries = audit_entries(&ada.client).await;
    let entries: Vec<_> = entries
        .iter()
        .map(|(action, result)| (action.as_str(), result.as_str()))
        .filter(|(action, _)| action.contains("Factor") || action.contains("Codes"))
        .collect();
    assert_eq!(
        entries,
        [
            ("CreateSecondFactor", "OK"),
            ("ConfirmSecondFactor", "OK"),
            ("DeleteSecondFactor", "SECOND_FACTOR_INVALID"),
            ("RegenerateRecoveryCodes", "OK"),
            ("DeleteSecondFactor", "OK"),
        ]
    );
}

#[rstest]
#[tokio::test]
async fn every_invalid_field_of_a_second_factor_is_named(#[values(Sqlite)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let request = pb::CreateSecondFactorRequest {
        display_name: String::new(),
        password: "pass\0word".to_owned(),
        second_factor_code: "1".to_owned(),
        ..Default::default()
    };
    let refusal = refused(ada.client.auth.clone().create_second_factor(request).await);
    assert_eq!(
        refusal.fields(),
        ["display_name", "password", "second_factor_code"]
    );
    let refusal = refused(confirm(&ada.client, "x", "").await);
    assert_eq!(refusal.fields(), ["second_factor_code", "second_factor_id"]);
    let refusal = refused(delete(&ada.client, "", "é").await);
    assert_eq!(refusal.fields(), ["second_factor_code", "second_factor_id"]);
}
