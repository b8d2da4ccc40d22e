use anyhow::Context;
use lettre::{
    Message,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};

use crate::{
    auth::MailToken,
    domain::{Letter, LetterKind, User},
};

/// What all messages have in common.
///
/// Nothing in them is chosen by who asks for them, so that nobody can use them to
/// say something to a stranger.
#[derive(Debug, Clone)]
pub struct Letterhead {
    /// Who sends them.
    pub from: Mailbox,
    /// What a token for VerifyEmail is appended to; without it the token stands alone.
    pub verify_url: Option<String>,
    /// What a token for ResetPassword is appended to; without it the token stands alone.
    pub reset_url: Option<String>,
}

impl Letterhead {
    /// The message that a letter becomes. A repeated one has the same id.
    pub fn write(
        &self,
        letter: &Letter,
        user: &User,
        token: &MailToken,
    ) -> anyhow::Result<Message> {
        let address = user.email.parse().context("the address cannot be used")?;
        let id = format!("<{}@{}>", letter.id, self.from.email.domain());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let (subject, body) = match letter.kind {
            LetterKind::EmailVerification => self.verification(token),
            LetterKind::PasswordReset => self.reset(token),
        };

        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(subject)
            .message_id(Some(id))
            .date_now()
            // So that no vacation notice answers it (RFC 3834).
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(as_it_is(&body))?;
        Ok(message)
    }

    fn verification(&self, token: &MailToken) -> (&'static str, String) {
        let (lead, link) = link(self.verify_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             an account was opened with this e-mail address. If it is yours, {lead}:\n\n\
             {link}\n\n\
             This works once, for 24 hours. If you did not open an account, do nothing.\n"
        );
        ("Verify your e-mail address", body)
    }

    fn reset(&self, token: &MailToken) -> (&'static str, String) {
        let (lead, link) = link(self.reset_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             somebody asked for a new password of the account with this e-mail address.\n\
             If that was you, {lead}:\n\n\
             {link}\n\n\
             This works once, for 30 minutes. If it was not you, do nothing: your password\n\
             stays as it is.\n"
        );
        ("Reset your password", body)
    }
}

/// A body that reads the same in a file as in a mail program: it is ASCII, and the
/// page of a setting leaves its line within the 998 bytes of RFC 5322.
fn as_it_is(body: &str) -> Body {
    let lines = body.replace('\n', "\r\n").into_bytes();
    Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit)
}

/// What to do with a token, and the line that has it.
fn link(url: Option<&str>, token: &MailToken) -> (&'static str, String) {
    match url {
        Some(url) => ("open this page", format!("{url}{}", token.expose())),
        None => ("use this token", token.expose().to_owned()),
    }
}
