use crate::{
    database::Transaction,
    domain::{EmailKind, EmailMessageId, Time, UserId},
    error::Result,
};

/// Messages that tell users of changes of their accounts, so that they notice changes of others,
/// and of webhooks that the server has disabled.
///
/// A notice is queued in the transaction of its change: none is lost, and none tells of what did not
/// happen. While one of a kind waits, another one is not queued; the mailer sends at most one of a
/// kind to a user each minute. Only a verified address gets notices: any other may be a stranger's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notices {
    is_mail_on: bool,
}

impl Notices {
    /// Notices that are queued only if there is a mailer.
    pub fn new(is_mail_on: bool) -> Self {
        Self { is_mail_on }
    }

    /// Queues a notice. `detail` is no text of a caller.
    pub(in crate::repositories) async fn queue(
        self,
        tx: &mut Transaction,
        user_id: UserId,
        kind: EmailKind,
        detail: &str,
        now: Time,
    ) -> Result<()> {
        if !self.is_mail_on {
            return Ok(());
        }
        execute!(
            tx,
            "insert into outbox
                 (id, kind, email_key, create_time, attempts, next_attempt_time, detail)
             select $1, $2, email_key, $3, 0, $3, $5
             from users
             where id = $4 and email_verified
             on conflict (email_key, kind) do nothing",
            [
                EmailMessageId::generate(),
                kind.as_str(),
                now,
                user_id,
                detail
            ]
        )
    }
}
