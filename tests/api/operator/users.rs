use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::Fixture;
use crate::harness::{Engine, Postgres, Sqlite, User, refused};

async fn list(fixture: &Fixture, request: pb::ListUsersRequest) -> Vec<pb::UserAccount> {
    let mut operator = fixture.operator.operator.clone();
    let answer = operator.list_users(request).await;
    answer.unwrap().into_inner().users
}

fn ids(accounts: &[pb::UserAccount]) -> Vec<&str> {
    let users = accounts
        .iter()
        .map(|account| account.user.as_ref().unwrap());
    users.map(|user| &*user.id).collect()
}

#[rstest]
#[tokio::test]
async fn an_account_is_shown_with_the_numbers_of_its_projects_and_live_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let media = fixture.server.media_server().await;
    let (_, live) = ada.project().await;
    media.live(&live, "c1").await;
    let (_, ended) = ada.project().await;
    let stream = media.live(&ended, "c2").await;
    media.end(&stream, "c2").await;

    let request = pb::GetUserRequest {
        user_id: ada.user.id.clone(),
    };
    let answer = fixture.operator.operator.clone().get_user(request).await;

    let account = answer.unwrap().into_inner().user.unwrap();
    assert_eq!(account.user.as_ref(), Some(&ada.user));
    assert_eq!(account.state(), pb::UserState::Active);
    assert_eq!((account.project_count, account.live_stream_count), (2, 1));
    assert_eq!(
        list(&fixture, pb::ListUsersRequest::default()).await,
        [account]
    );
}

#[rstest]
#[tokio::test]
async fn a_list_of_users_is_filtered_by_address_state_and_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let grace = fixture.server.user().await;
    fixture.suspend(&grace.user.id).await.unwrap();
    let of = |user: &User| user.user.id.clone();
    let created = |user: &User| user.user.create_time;

    let all = list(&fixture, pb::ListUsersRequest::default()).await;
    assert_eq!(ids(&all), [of(&grace), of(&ada)]);
    let request = |change: fn(&mut pb::ListUsersRequest, &User), user: &User| {
        let mut request = pb::ListUsersRequest::default();
        change(&mut request, user);
        request
    };
    for (request, expected) in [
        (
            request(|it, user| it.email = user.email.to_uppercase(), &ada),
            vec![of(&ada)],
        ),
        (
            request(|it, _| it.email = "nobody@example.com".to_owned(), &ada),
            vec![],
        ),
        (
            request(|it, _| it.set_state(pb::UserState::Suspended), &ada),
            vec![of(&grace)],
        ),
        (
            request(|it, _| it.set_state(pb::UserState::Active), &ada),
            vec![of(&ada)],
        ),
        (
            pb::ListUsersRequest {
                created_after: created(&ada),
                ..Default::default()
            },
            vec![of(&grace)],
        ),
        (
            pb::ListUsersRequest {
                created_before: created(&grace),
                ..Default::default()
            },
            vec![of(&ada)],
        ),
    ] {
        let listed = list(&fixture, request.clone()).await;
        assert_eq!(ids(&listed), expected, "{request:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_deleted_account_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let mut ada = fixture.server.user().await;
    let request = pb::DeleteMeRequest {
        password: ada.password.to_owned(),
    };
    ada.client.auth.delete_me(request).await.unwrap();

    let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND");
    let request = pb::GetUserRequest {
        user_id: ada.user.id.clone(),
    };
    let mut operator = fixture.operator.operator.clone();
    assert_eq!(refused(operator.get_user(request).await).class(), not_found);
    assert_eq!(
        refused(fixture.suspend(&ada.user.id).await).class(),
        not_found
    );
    assert_eq!(list(&fixture, pb::ListUsersRequest::default()).await, []);
}
