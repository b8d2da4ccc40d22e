use anyhow::Context;
use chrono::SecondsFormat;
use lettre::{
    Message,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};

use crate::{
    auth::MailToken,
    domain::{EmailKind, EmailMessage},
};

/// The templates of e-mail messages.
///
/// A message contains no text that its requester chose, so that nobody can use this
/// server to send text to a stranger.
#[derive(Debug, Clone)]
pub struct MailTemplates {
    /// The sender's address.
    pub from: Mailbox,
    /// The URL to which a token for VerifyEmail is appended; `None` sends the bare token.
    pub verify_url: Option<String>,
    /// The URL to which a token for ResetPassword is appended; `None` sends the bare token.
    pub reset_url: Option<String>,
    /// The URL to which a token for ConfirmEmailChange and CancelEmailChange is appended; `None`
    /// sends the bare token.
    pub change_url: Option<String>,
    /// The URL to which a token for AcceptInvitation is appended; `None` sends the bare token.
    pub invitation_url: Option<String>,
}

impl MailTemplates {
    /// Renders a message. A repeated message has the same `Message-ID`.
    pub fn render(
        &self,
        message: &EmailMessage,
        email: &str,
        token: &MailToken,
    ) -> anyhow::Result<Message> {
        let address = email.parse().context("unusable address")?;
        let id = format!("<{}@{}>", message.id, self.from.email.domain());
        let auto_submitted = HeaderName::new_from_ascii_str("Auto-Submitted");
        let (subject, body) = match message.kind {
            EmailKind::EmailVerification => self.verification(token),
            EmailKind::PasswordReset => self.reset(token),
            EmailKind::EmailChange => self.change(token),
            EmailKind::NewEmail => self.new_address(token),
            EmailKind::Invitation => self.invitation(token),
            EmailKind::NewNetwork
            | EmailKind::NewApiKey
            | EmailKind::NewSecondFactor
            | EmailKind::RemovedSecondFactor
            | EmailKind::ChangedPassword => notice(message),
            EmailKind::DisabledWebhook => disabled_webhook(message),
        };

        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(subject)
            .message_id(Some(id))
            .date_now()
            // Prevents automatic replies (RFC 3834).
            .raw_header(HeaderValue::new(auto_submitted, "auto-generated".into()))
            .header(ContentType::TEXT_PLAIN)
            .body(seven_bit_body(&body))?;
        Ok(message)
    }

    fn verification(&self, token: &MailToken) -> (&'static str, String) {
        let (instruction, link) = instruction_and_link(self.verify_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             an account was opened with this e-mail address. If it is yours, {instruction}\n\
             while you are signed in:\n\n\
             {link}\n\n\
             This works once, for 24 hours. If you did not open an account, do nothing.\n"
        );
        ("Verify your e-mail address", body)
    }

    fn change(&self, token: &MailToken) -> (&'static str, String) {
        let (instruction, link) = instruction_and_link(self.change_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             somebody asked to change the e-mail address of your account. If that was you,\n\
             {instruction} while you are signed in, to confirm it. The new address has to\n\
             confirm it, too. If it was not you, do the same to cancel it, for which you need\n\
             not be signed in, and change your password:\n\n\
             {link}\n\n\
             This works once, for 24 hours. If you do nothing, your address stays as it is.\n"
        );
        ("Confirm or cancel the change of your e-mail address", body)
    }

    fn new_address(&self, token: &MailToken) -> (&'static str, String) {
        let (instruction, link) = instruction_and_link(self.change_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             somebody wants to use this e-mail address for an account. If that was you,\n\
             {instruction} while you are signed in:\n\n\
             {link}\n\n\
             This works once, for 24 hours. If it was not you, do nothing.\n"
        );
        ("Confirm your new e-mail address", body)
    }

    fn invitation(&self, token: &MailToken) -> (&'static str, String) {
        let (instruction, link) = instruction_and_link(self.invitation_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             an organization invites you to become a member. To accept, {instruction}\n\
             while you are signed in to the account with this e-mail address:\n\n\
             {link}\n\n\
             This works once, for 7 days. If you do not want to become a member, do nothing.\n"
        );
        ("Invitation to an organization", body)
    }

    fn reset(&self, token: &MailToken) -> (&'static str, String) {
        let (instruction, link) = instruction_and_link(self.reset_url.as_deref(), token);
        let body = format!(
            "Hello,\n\n\
             somebody asked for a new password of the account with this e-mail address.\n\
             If that was you, {instruction}:\n\n\
             {link}\n\n\
             This works once, for 30 minutes. If it was not you, do nothing: your password\n\
             stays as it is.\n"
        );
        ("Reset your password", body)
    }
}

/// A notice of a change of an account. It has no token and no link, which somebody could imitate.
fn notice(message: &EmailMessage) -> (&'static str, String) {
    let network = &message.detail;
    let factor = match message.detail.as_str() {
        "" => "a second factor",
        _ => "a passkey",
    };
    let (subject, event) = match message.kind {
        EmailKind::NewNetwork => (
            "New sign-in to your account",
            format!("somebody signed in to your account from a network that is new, {network},"),
        ),
        EmailKind::NewApiKey => (
            "New API key of your account",
            "an API key of your account was created".to_owned(),
        ),
        EmailKind::NewSecondFactor => (
            "New second factor of your account",
            format!("{factor} was added to your account"),
        ),
        EmailKind::RemovedSecondFactor => (
            "Second factor of your account removed",
            format!("{factor} of your account was removed"),
        ),
        EmailKind::ChangedPassword
        | EmailKind::EmailVerification
        | EmailKind::PasswordReset
        | EmailKind::DisabledWebhook
        | EmailKind::EmailChange
        | EmailKind::Invitation
        | EmailKind::NewEmail => (
            "Password of your account changed",
            "the password of your account was changed".to_owned(),
        ),
    };
    let time = time(message);
    let body = format!(
        "Hello,\n\n\
         {event}\n\
         at {time}.\n\n\
         If that was you, do nothing. If it was not you, reset your password, end your other\n\
         sessions and revoke API keys that are not yours.\n"
    );
    (subject, body)
}

/// A notice that the server has disabled a webhook. The address of its endpoint may contain secrets.
fn disabled_webhook(message: &EmailMessage) -> (&'static str, String) {
    let (webhook, time) = (&message.detail, time(message));
    let body = format!(
        "Hello,\n\n\
         events of your projects could not be delivered, so a webhook of your account was disabled\n\
         at {time}:\n\n\
         {webhook}\n\n\
         Its last deliveries say why. When you enable it again, it continues after the last event\n\
         that its endpoint has taken, as far as events are kept. Other webhooks may be disabled too.\n"
    );
    ("Webhook of your account disabled", body)
}

fn time(message: &EmailMessage) -> String {
    let time = message.create_time;
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An unencoded body, readable in a file. It is ASCII, and the settings limit URLs so
/// that a line has at most 998 bytes (RFC 5322).
fn seven_bit_body(body: &str) -> Body {
    let lines = body.replace('\n', "\r\n").into_bytes();
    Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit)
}

/// The instruction for a token, and the line that contains it.
fn instruction_and_link(url: Option<&str>, token: &MailToken) -> (&'static str, String) {
    match url {
        Some(url) => ("open this page", format!("{url}{}", token.expose())),
        None => ("use this token", token.expose().to_owned()),
    }
}
