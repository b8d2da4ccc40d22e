//! A database in which every run has a project of its own.

use sluice::{
    auth::{Keys, Sealer},
    domain::{Act, Email, Name, Origin, Tenant, UserId},
    repositories::{Database, NewUser, Users},
};
use tokio::sync::Mutex;

use super::events::Events;
use crate::harness::{TestDatabase, config};

/// A database with one user, in which every run has a project of its own.
pub struct World {
    _database: TestDatabase,
    pub repositories: Database,
    pub sealer: Sealer,
    pub events: Mutex<Events>,
    user: UserId,
}

impl World {
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
        let act = Act::of_user("SignUp", Some(user.id), Origin::default());
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
        Tenant {
            user: self.user,
            restricted_to: None,
        }
    }

    pub fn act(&self) -> Act {
        Act::of_user("Test", Some(self.user), Origin::default())
    }
}
