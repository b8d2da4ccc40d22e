//! A database in which every run creates its own project.

use sluice::{
    auth::{Keys, Sealer},
    database::Database,
    domain::{AuditContext, Email, Name, RequestOrigin, Tenant, UserId},
    repositories::{NewUser, Users},
};
use tokio::sync::Mutex;

use super::events::Events;
use crate::harness::{TestDatabase, config};

/// A database with one user, in which every run creates its own project.
pub struct SharedDatabase {
    _database: TestDatabase,
    pub repositories: Database,
    pub sealer: Sealer,
    pub events: Mutex<Events>,
    user: UserId,
}

impl SharedDatabase {
    pub async fn over(database: TestDatabase) -> Self {
        let repositories = Database::open(&config(&database, &[]).database());
        repositories.migrate().await.unwrap();
        let user = NewUser {
            id: UserId::generate(),
            email: Email::parse("ada@example.com").unwrap(),
            display_name: Name::parse("Ada").unwrap(),
            password_hash: "none".to_owned(),
            idempotency: None,
            verify: false,
        };
        let act = AuditContext::for_user("SignUp", Some(user.id), RequestOrigin::default());
        let users = Users::new(repositories.clone());
        users
            .create(&user, &act, sluice::domain::now())
            .await
            .unwrap();
        let keys = Keys::load(&config(&database, &[]).keys()).unwrap();
        Self {
            events: Mutex::new(Events::of(&database).await),
            _database: database,
            repositories,
            sealer: keys.sealer,
            user: user.id,
        }
    }

    pub fn tenant(&self) -> Tenant {
        Tenant::of_user(self.user)
    }

    pub fn act(&self) -> AuditContext {
        AuditContext::for_user("Test", Some(self.user), RequestOrigin::default())
    }
}
