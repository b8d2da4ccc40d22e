use sluice::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Client, FullDisk, Process, Sqlite, TestDatabase, eventually, refused};

#[tokio::test]
async fn on_a_full_disk_writes_are_refused_and_reads_work_until_there_is_space_again() {
    let database = TestDatabase::create(Sqlite).await;
    let disk = FullDisk::for_sqlite().await;
    let program = Process::serve_on_disk(&database, &disk, &[]);
    let channel = program.channel().await;
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let signed_up = Client::anonymous(&channel).auth.sign_up(request).await;
    let token = signed_up.unwrap().into_inner().tokens.unwrap().access_token;
    let mut auth = Client::with_token(&channel, &token).auth;
    let rename = |name: &str| pb::UpdateMeRequest {
        display_name: Some(name.to_owned()),
        ..Default::default()
    };

    disk.fill();
    for name in ["Grace", "Mary"] {
        let refusal = refused(auth.update_me(rename(name)).await);
        assert_eq!(refusal.class(), (Code::ResourceExhausted, "STORAGE_FULL"));
        let me = auth.get_me(pb::GetMeRequest {}).await.unwrap();
        assert_eq!(me.into_inner().user.unwrap().display_name, "Ada");
    }

    disk.free();
    let renamed = eventually("writes succeed again", async || {
        auth.clone().update_me(rename("Edith")).await.ok()
    })
    .await;
    assert_eq!(renamed.into_inner().user.unwrap().display_name, "Edith");
    let me = auth.get_me(pb::GetMeRequest {}).await.unwrap();
    assert_eq!(me.into_inner().user.unwrap().display_name, "Edith");
}
