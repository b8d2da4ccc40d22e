//! Changes of e-mail addresses.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::join;
use tonic::{Code, Response, Status};

use super::{
    calls::{
        api_key_client, api_key_request, backdate, get_me, new_session, postpone, refreshed,
        sign_in,
    },
    id_token_fixture::{IdTokenFixture, signed_in_client},
    mail_calls::{
        INVALID, NEW_PASSWORD, audit_entries, let_a_minute_pass, reset, reset_token,
        verification_token, verify,
    },
};
use crate::{
    contract::dump::settled_dump,
    harness::{Client, Engine, Mail, Postgres, Sqlite, TestServer, User, eventually, refused},
};

/// Words in the subjects of the messages to the current and to the new address.
pub const CURRENT: &str = "Confirm or cancel";
pub const NEW: &str = "Confirm your new";

/// The error of an address that has an account.
const TAKEN: (Code, &str) = (Code::AlreadyExists, "EMAIL_TAKEN");

/// A new address.
const ADDRESS: &str = "Ada.New@example.com";

/// RequestEmailChange.
pub async fn request(
    client: &Client,
    new_email: &str,
) -> Result<Response<pb::RequestEmailChangeResponse>, Status> {
    let new_email = new_email.to_owned();
    let request = pb::RequestEmailChangeRequest { new_email };
    client.auth.clone().request_email_change(request).await
}

/// ConfirmEmailChange.
async fn confirm(
    client: &Client,
    token: &str,
) -> Result<Response<pb::ConfirmEmailChangeResponse>, Status> {
    let token = token.to_owned();
    let request = pb::ConfirmEmailChangeRequest { token };
    client.auth.clone().confirm_email_change(request).await
}

/// CancelEmailChange, without a session.
async fn cancel(
    server: &TestServer,
    token: &str,
) -> Result<Response<pb::CancelEmailChangeResponse>, Status> {
    let token = token.to_owned();
    let request = pb::CancelEmailChangeRequest { token };
    server.anonymous().auth.cancel_email_change(request).await
}

/// A user with a verified address.
async fn verified_user(server: &TestServer) -> User {
    let user = server.user().await;
    let token = verification_token(server, &user).await;
    verify(&user.client, &token).await.unwrap();
    user
}

/// A user with a verified address who has requested a change to this one; the tokens of the current
/// and of the new address.
async fn requested(server: &TestServer, new_email: &str) -> (User, String, String) {
    let user = verified_user(server).await;
    request(&user.client, new_email).await.unwrap();
    let current = server.database.mail(&user.email, CURRENT, 1).await.token();
    let new = server.database.mail(new_email, NEW, 1).await.token();
    (user, current, new)
}

/// The account, and its pending change.
async fn account(client: &Client) -> (pb::User, Option<pb::EmailChange>) {
    let answer = get_me(client).await.unwrap().into_inner();
    (answer.user.unwrap(), answer.email_change)
}

/// Which addresses a pending change awaits: the current one, the new one.
fn awaited(change: &pb::EmailChange) -> (bool, bool) {
    (change.awaits_current_email, change.awaits_new_email)
}

/// The first messages with this subject, while others may wait.
async fn mails(server: &TestServer, email: &str, subject: &str, number: usize) -> Vec<Mail> {
    eventually("the messages arrive", async || {
        let mails = server.database.mails(email, subject);
        (mails.len() == number).then_some(mails)
    })
    .await
}

/// Waits until this number of messages waits for later than the last ones that were sent.
async fn wait_for_postponed(server: &TestServer, number: i64) {
    let postponed = "select count(*) from outbox
                     where next_attempt_time > (select max(create_time) from mail_tokens)";
    eventually("the messages are postponed", async || {
        (server.database.number(postponed).await == number).then_some(())
    })
    .await;
}

/// Makes postponed messages due, after those of an hour ahead.
async fn let_hours_pass(server: &TestServer) {
    backdate(&server.database, "mail_tokens", "create_time", "2 hours").await;
    backdate(&server.database, "outbox", "next_attempt_time", "3 hours").await;
}

#[rstest]
#[tokio::test]
async fn an_address_changes_once_both_addresses_have_confirmed_it(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] is_current_first: bool,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let other = new_session(&server, &ada).await;
    let other = Client::with_token(&server.channel, &other.access_token);
    let program = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;
    let (first, second) = match is_current_first {
        true => (current, new),
        false => (new, current),
    };

    let (user, pending) = account(&ada.client).await;
    let pending = pending.unwrap();
    assert_eq!(user.email, ada.email);
    assert_eq!(pending.new_email, ADDRESS);
    assert_eq!(awaited(&pending), (true, true));
    let answer = confirm(&ada.client, &first).await.unwrap().into_inner();
    let pending = answer.email_change.unwrap();
    assert_eq!(awaited(&pending), (!is_current_first, is_current_first));
    assert_eq!(answer.user.unwrap().email, ada.email);
    assert_eq!(account(&other).await.1, Some(pending));
    assert_eq!(refused(confirm(&ada.client, &first).await).class(), INVALID);
    new_session(&server, &ada).await;

    let answer = confirm(&ada.client, &second).await.unwrap().into_inner();
    assert_eq!(answer.email_change, None);
    let user = answer.user.unwrap();
    assert_eq!((&*user.email, user.email_verified), (ADDRESS, true));
    assert_eq!(account(&ada.client).await, (user, None));
    let ended = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refused(get_me(&other).await).class(), ended);
    let list = pb::ListProjectsRequest::default();
    program.project.clone().list_projects(list).await.unwrap();
    refreshed(&server.channel, &ada.tokens.refresh_token).await;

    let new_email = ADDRESS.to_lowercase();
    let signed_in = sign_in(&server.channel, &new_email, ada.password).await;
    signed_in.unwrap();
    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);
    let entries = audit_entries(&ada.client).await;
    for (action, times) in [("RequestEmailChange", 1), ("ConfirmEmailChange", 2)] {
        let entry = (action.to_owned(), "OK".to_owned());
        let found = entries.iter().filter(|one| **one == entry);
        assert_eq!(found.count(), times, "{action}");
    }
}

/// Nobody has proved to own the current address, so its mailbox may be a stranger's.
#[rstest]
#[tokio::test]
async fn an_unverified_current_address_is_not_asked(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let answer = request(&ada.client, ADDRESS).await.unwrap().into_inner();
    assert_eq!(awaited(&answer.email_change.unwrap()), (false, true));
    let new = server.database.mail(ADDRESS, NEW, 1).await.token();
    assert_eq!(server.database.mails(&ada.email, CURRENT).len(), 0);

    let answer = confirm(&ada.client, &new).await.unwrap().into_inner();

    assert_eq!(answer.email_change, None);
    let user = answer.user.unwrap();
    assert_eq!((&*user.email, user.email_verified), (ADDRESS, true));
}

#[rstest]
#[tokio::test]
async fn an_address_that_was_verified_after_the_request_has_to_confirm_it_too(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    request(&ada.client, ADDRESS).await.unwrap();
    let new = server.database.mail(ADDRESS, NEW, 1).await.token();
    let token = verification_token(&server, &ada).await;
    verify(&ada.client, &token).await.unwrap();

    let answer = confirm(&ada.client, &new).await.unwrap().into_inner();
    assert_eq!(awaited(&answer.email_change.unwrap()), (true, false));
    request(&ada.client, ADDRESS).await.unwrap();
    let current = server.database.mail(&ada.email, CURRENT, 1).await.token();
    let answer = confirm(&ada.client, &current).await.unwrap().into_inner();

    assert_eq!(answer.email_change, None);
    assert_eq!(answer.user.unwrap().email, ADDRESS);
}

/// Else the owner of a mailbox who opens a link would give the address to somebody else's account.
#[rstest]
#[tokio::test]
async fn only_the_signed_in_user_confirms_a_change(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let stranger = server.user().await;
    let program = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;
    let before = settled_dump(&server.database).await;

    for token in [&current, &new] {
        for (client, class) in [
            (&stranger.client, INVALID),
            (
                &server.anonymous(),
                (Code::Unauthenticated, "ACCESS_TOKEN_MISSING"),
            ),
            (&program, (Code::PermissionDenied, "SESSION_REQUIRED")),
        ] {
            assert_eq!(refused(confirm(client, token).await).class(), class);
        }
    }
    assert_eq!(settled_dump(&server.database).await, before);
    confirm(&ada.client, &current).await.unwrap();
    let answer = confirm(&ada.client, &new).await.unwrap().into_inner();
    assert_eq!(answer.email_change, None);
}

#[rstest]
#[tokio::test]
async fn each_address_can_cancel_a_change_without_signing_in(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] is_current: bool,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let (confirming, cancelling) = match is_current {
        true => (&new, &current),
        false => (&current, &new),
    };
    confirm(&ada.client, confirming).await.unwrap();

    cancel(&server, cancelling).await.unwrap();

    for token in [&current, &new, &format!("slm_{}", "0".repeat(64))] {
        assert_eq!(refused(confirm(&ada.client, token).await).class(), INVALID);
        assert_eq!(refused(cancel(&server, token).await).class(), INVALID);
    }
    let (user, pending) = account(&ada.client).await;
    assert_eq!((user.email, pending), (ada.email.clone(), None));
    let last = audit_entries(&ada.client).await.pop().unwrap();
    assert_eq!(last, ("CancelEmailChange".to_owned(), "OK".to_owned()));
    // Another change can follow.
    let_a_minute_pass(&server).await;
    request(&ada.client, ADDRESS).await.unwrap();
    for (email, subject) in [(&*ada.email, CURRENT), (ADDRESS, NEW)] {
        let token = server.database.mail(email, subject, 2).await.token();
        confirm(&ada.client, &token).await.unwrap();
    }
    assert_eq!(account(&ada.client).await.0.email, ADDRESS);
}

#[rstest]
#[tokio::test]
async fn only_the_owner_of_the_new_mailbox_learns_that_it_has_an_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (verified_user(&server).await, verified_user(&server).await);
    let grace = server.user().await;
    let taken = grace.email.to_uppercase();

    let free = request(&ben.client, ADDRESS).await.unwrap().into_inner();
    let answer = request(&ada.client, &taken).await.unwrap().into_inner();
    let [free, answer] = [free, answer].map(|answer| answer.email_change.unwrap());
    assert_eq!(awaited(&answer), awaited(&free));
    assert_eq!(answer.new_email, taken);
    let current = server.database.mail(&ada.email, CURRENT, 1).await.token();
    let answer = confirm(&ada.client, &current).await.unwrap().into_inner();
    assert_eq!(awaited(&answer.email_change.unwrap()), (false, true));

    let mail = server.database.mail(&taken, NEW, 1).await;
    let free = server.database.mail(ADDRESS, NEW, 1).await;
    let without = |mail: &Mail| mail.body.replace(&mail.token(), "");
    assert_eq!(without(&mail), without(&free));
    for _ in 0..2 {
        let refusal = refused(confirm(&ada.client, &mail.token()).await);
        assert_eq!(refusal.class(), TAKEN);
    }
    let (user, pending) = account(&ada.client).await;
    assert_eq!(user.email, ada.email);
    assert_eq!(awaited(&pending.unwrap()), (false, true));
    new_session(&server, &grace).await;
}

#[rstest]
#[tokio::test]
async fn of_two_users_who_change_to_one_address_one_wins(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ada_current, ada_new) = requested(&server, ADDRESS).await;
    let ben = verified_user(&server).await;
    // One address gets one message in a minute, from whomever: here in an hour.
    postpone(&server.database, "mail_tokens", "create_time", "1 hour").await;
    request(&ben.client, ADDRESS).await.unwrap();
    wait_for_postponed(&server, 1).await;
    let ben_current = mails(&server, &ben.email, CURRENT, 1).await[0].token();
    assert_eq!(server.database.mails(ADDRESS, NEW).len(), 1);
    let_hours_pass(&server).await;
    let ben_new = server.database.mail(ADDRESS, NEW, 2).await.token();
    confirm(&ada.client, &ada_new).await.unwrap();
    confirm(&ben.client, &ben_new).await.unwrap();

    let replica = server.replica().await;
    let ben_there = Client::with_token(&replica, &ben.tokens.access_token);
    let (ada_answer, ben_answer) = join!(
        confirm(&ada.client, &ada_current),
        confirm(&ben_there, &ben_current)
    );

    let (winner, loser) = match (ada_answer, ben_answer) {
        (Ok(_), Err(status)) => {
            assert_eq!(refused::<()>(Err(status)).class(), TAKEN);
            (&ada, &ben)
        }
        (Err(status), Ok(_)) => {
            assert_eq!(refused::<()>(Err(status)).class(), TAKEN);
            (&ben, &ada)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(account(&winner.client).await.0.email, ADDRESS);
    let (user, pending) = account(&loser.client).await;
    assert_eq!(user.email, loser.email);
    assert_eq!(awaited(&pending.unwrap()), (true, false));
    new_session(&server, loser).await;
}

#[rstest]
#[tokio::test]
async fn an_address_that_got_an_account_meanwhile_is_refused_at_the_last_confirmation(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    confirm(&ada.client, &new).await.unwrap();
    let sign_up = pb::SignUpRequest {
        email: ADDRESS.to_lowercase(),
        password: NEW_PASSWORD.to_owned(),
        display_name: "Grace".to_owned(),
        request_id: String::new(),
    };
    server.anonymous().auth.sign_up(sign_up).await.unwrap();

    let refusal = refused(confirm(&ada.client, &current).await);

    assert_eq!(refusal.class(), TAKEN);
    assert_eq!(account(&ada.client).await.0.email, ada.email);
    new_session(&server, &ada).await;
}

#[rstest]
#[tokio::test]
async fn two_confirmations_at_once_change_the_address(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let there = Client::with_token(&server.replica().await, &ada.tokens.access_token);

    let (one, other) = join!(confirm(&ada.client, &current), confirm(&there, &new));

    let answers = [one, other].map(|answer| answer.unwrap().into_inner());
    let complete = answers
        .iter()
        .filter(|answer| answer.email_change.is_none());
    assert_eq!(complete.count(), 1, "{answers:?}");
    assert_eq!(account(&ada.client).await.0.email, ADDRESS);
}

/// A token must not confirm another address than the one that its owner was asked about.
#[rstest]
#[tokio::test]
async fn a_request_for_another_address_replaces_the_earlier_one_and_its_messages_wait(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, "mistyped@example.com").await;
    confirm(&ada.client, &current).await.unwrap();
    let_a_minute_pass(&server).await;
    request(&ada.client, "mistyped@example.com").await.unwrap();
    let again = server
        .database
        .mail("mistyped@example.com", NEW, 2)
        .await
        .token();
    postpone(&server.database, "mail_tokens", "create_time", "1 hour").await;

    let answer = request(&ada.client, ADDRESS).await.unwrap().into_inner();
    assert_eq!(awaited(&answer.email_change.unwrap()), (true, true));
    for token in [&new, &again] {
        assert_eq!(refused(confirm(&ada.client, token).await).class(), INVALID);
        assert_eq!(refused(cancel(&server, token).await).class(), INVALID);
    }
    mails(&server, &ada.email, CURRENT, 2).await;
    wait_for_postponed(&server, 1).await;
    assert_eq!(server.database.mails(ADDRESS, NEW).len(), 0);
    let_hours_pass(&server).await;

    let new = server.database.mail(ADDRESS, NEW, 1).await.token();
    let current = server.database.mail(&ada.email, CURRENT, 2).await.token();
    confirm(&ada.client, &new).await.unwrap();
    confirm(&ada.client, &current).await.unwrap();
    assert_eq!(account(&ada.client).await.0.email, ADDRESS);
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_keeps_tokens_and_confirmations_and_sends_nothing_within_a_minute(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    for _ in 0..3 {
        request(&ada.client, ADDRESS).await.unwrap();
        server.database.mail(&ada.email, CURRENT, 1).await;
        server.database.mail(ADDRESS, NEW, 1).await;
    }
    confirm(&ada.client, &new).await.unwrap();

    let_a_minute_pass(&server).await;
    let answer = request(&ada.client, ADDRESS).await.unwrap().into_inner();

    assert_eq!(awaited(&answer.email_change.unwrap()), (true, false));
    server.database.mail(&ada.email, CURRENT, 2).await;
    server.database.mail(ADDRESS, NEW, 1).await;
    let answer = confirm(&ada.client, &current).await.unwrap().into_inner();
    assert_eq!(answer.user.unwrap().email, ADDRESS);
}

#[rstest]
#[tokio::test]
async fn a_request_ends_after_a_day_and_is_purged(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let database = &server.database;
    backdate(database, "email_changes", "expire_time", "86340 seconds").await;
    assert!(account(&ada.client).await.1.is_some());

    backdate(database, "email_changes", "expire_time", "60 seconds").await;
    assert_eq!(account(&ada.client).await.1, None);
    for token in [&current, &new] {
        assert_eq!(refused(confirm(&ada.client, token).await).class(), INVALID);
    }
    let server = server.restart().await;
    let left = "select count(*) from email_changes";
    eventually("the request is purged", async || {
        (server.database.number(left).await == 0).then_some(())
    })
    .await;
}

/// Otherwise whoever made an account with the address of somebody else would keep a way to it.
#[rstest]
#[tokio::test]
async fn a_requested_change_ends_when_the_owner_takes_the_account_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = IdTokenFixture::start(engine).await;
    let server = &fixture.server;
    let (first, second) = (server.user().await, server.user().await);
    let mut tokens = Vec::new();
    for (user, address) in [(&first, "one@example.com"), (&second, "two@example.com")] {
        request(&user.client, address).await.unwrap();
        tokens.push(server.database.mail(address, NEW, 1).await.token());
    }

    let token = reset_token(server, &first).await;
    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
    let by_reset = sign_in(&server.channel, &first.email, NEW_PASSWORD).await;
    let by_reset = by_reset.unwrap().into_inner().tokens.unwrap();
    let by_reset = Client::with_token(&server.channel, &by_reset.access_token);
    let claims = fixture.issuer.claims_with_email("ada", &second.email);
    let by_id_token = signed_in_client(server, &fixture.signed_in(&claims).await);

    for (owner, token) in [by_reset, by_id_token].iter().zip(&tokens) {
        assert_eq!(account(owner).await.1, None);
        assert_eq!(refused(confirm(owner, token).await).class(), INVALID);
        assert_eq!(refused(cancel(server, token).await).class(), INVALID);
    }
}

/// A new account of somebody else may have the former address.
#[rstest]
#[tokio::test]
async fn after_a_change_the_former_address_is_free_and_its_tokens_do_not_work(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let token = reset_token(&server, &ada).await;
    confirm(&ada.client, &current).await.unwrap();
    confirm(&ada.client, &new).await.unwrap();

    let refusal = refused(reset(&server.channel, &token, NEW_PASSWORD).await);
    assert_eq!(refusal.class(), INVALID);
    let sign_up = pb::SignUpRequest {
        email: ada.email.clone(),
        password: NEW_PASSWORD.to_owned(),
        display_name: "Grace".to_owned(),
        request_id: String::new(),
    };
    let grace = server.anonymous().auth.sign_up(sign_up).await.unwrap();
    assert_ne!(grace.into_inner().user.unwrap().id, ada.user.id);
    let answer = sign_in(&server.channel, ADDRESS, ada.password).await;
    assert_eq!(answer.unwrap().into_inner().user.unwrap().id, ada.user.id);
}

#[rstest]
#[tokio::test]
async fn the_change_of_a_deleted_account_is_deleted(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, current, new) = requested(&server, ADDRESS).await;
    let delete = pb::DeleteMeRequest {
        password: ada.password.to_owned(),
    };
    ada.client.auth.clone().delete_me(delete).await.unwrap();

    let left = "select count(*) from email_changes";
    assert_eq!(server.database.number(left).await, 0);
    for token in [current, new] {
        assert_eq!(refused(cancel(&server, &token).await).class(), INVALID);
    }
}

#[tokio::test]
async fn the_messages_link_to_the_configured_page() {
    let flags = ["--mail-change-url=https://app.example.com/change#token="];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let ada = verified_user(&server).await;
    request(&ada.client, ADDRESS).await.unwrap();

    for (email, subject) in [(&*ada.email, CURRENT), (ADDRESS, NEW)] {
        let mail = server.database.mail(email, subject, 1).await;
        let line = format!("https://app.example.com/change#token={}", mail.token());
        assert!(mail.body.lines().any(|is| is == line), "{}", mail.body);
        assert!(!mail.body.contains(&ada.user.display_name), "{}", mail.body);
    }
}

#[tokio::test]
async fn a_change_needs_mail_another_address_and_a_recent_authentication() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    for address in ["ada", "", &ada.email, &ada.email.to_uppercase()] {
        let refusal = refused(request(&ada.client, address).await);
        assert_eq!(refusal.fields(), ["new_email"], "{address}");
    }
    assert_eq!(refused(confirm(&ada.client, " ").await).fields(), ["token"]);
    assert_eq!(refused(cancel(&server, "").await).fields(), ["token"]);
    let refusal = refused(request(&server.anonymous(), ADDRESS).await);
    let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
    assert_eq!(refusal.class(), missing);

    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    let tokens = refreshed(&server.channel, &ada.tokens.refresh_token).await;
    let old = Client::with_token(&server.channel, &tokens.access_token);
    let refusal = refused(request(&old, ADDRESS).await);
    let too_old = (Code::FailedPrecondition, "REAUTHENTICATION_REQUIRED");
    assert_eq!(refusal.class(), too_old);
    let left = "select (select count(*) from email_changes) + (select count(*) from outbox
                where kind <> 'email_verification')";
    assert_eq!(server.database.number(left).await, 0);

    let server = TestServer::start_with(Sqlite, &["--mail=off"]).await;
    let ada = server.user().await;
    let refusal = refused(request(&ada.client, ADDRESS).await);
    assert_eq!(refusal.class(), (Code::FailedPrecondition, "MAIL_DISABLED"));
}
