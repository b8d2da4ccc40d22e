use std::fs;

use sluice::database::Target;

use super::{TestDatabase, eventually};

/// A received e-mail message.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The header lines.
    pub headers: Vec<String>,
    /// The body, with LF line ends.
    pub body: String,
}

impl Mail {
    /// Parses a message in Internet Message Format (RFC 5322).
    pub fn parse(text: &str) -> Self {
        let (headers, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        Self {
            headers: headers.split("\r\n").map(str::to_owned).collect(),
            body: body.replace("\r\n", "\n"),
        }
    }

    /// The value of a header that occurs exactly once.
    pub fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        let mut values = self.headers.iter().filter_map(|h| h.strip_prefix(&prefix));
        let value = values.next().expect("the message has the header");
        assert_eq!(values.next(), None, "{name}");
        value
    }

    /// The only token in the message.
    pub fn token(&self) -> String {
        let start = self.body.find("slm_").expect("the message has a token");
        let token = &self.body[start..start + 68];
        assert!(token[4..].bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(self.body.matches("slm_").count(), 1);
        token.to_owned()
    }
}

impl TestDatabase {
    /// The messages to an address in the mail folder whose subject contains `subject`,
    /// oldest first.
    pub fn mails(&self, email: &str, subject: &str) -> Vec<Mail> {
        let folder = self.directory.path().join("mail");
        let Ok(files) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort_unstable();
        files
            .iter()
            .map(|file| Mail::parse(&fs::read_to_string(file).unwrap()))
            .filter(|mail| mail.header("To") == email && mail.header("Subject").contains(subject))
            .collect()
    }

    /// Waits for exactly `number` messages to an address and an empty outbox; returns the
    /// last message.
    pub async fn mail(&self, email: &str, subject: &str, number: usize) -> Mail {
        eventually("the message arrives", async || {
            (self.mails(email, subject).len() == number).then_some(())
        })
        .await;
        self.wait_for_empty_outbox().await;
        let mut mails = self.mails(email, subject);
        assert_eq!(mails.len(), number, "{mails:?}");
        mails.remove(number - 1)
    }

    /// Waits until all queued messages are sent or dropped.
    pub async fn wait_for_empty_outbox(&self) {
        eventually("the outbox is empty", async || {
            let waiting = self.number("select count(*) from outbox").await;
            (waiting == 0).then_some(())
        })
        .await;
    }

    /// Whether these tables contain a text, or a value of its bytes.
    pub async fn contains_text(&self, tables: &[&str], text: &str) -> bool {
        if let Ok(Target::Sqlite(file)) = self.url.parse() {
            let log = file.with_extension("db-wal");
            assert!(log.exists(), "the last writes are in the log");
            return [file, log].iter().any(|file| {
                let bytes = fs::read(file).unwrap();
                let mut windows = bytes.windows(text.len());
                windows.any(|window| window == text.as_bytes())
            });
        }
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        for table in tables {
            let rows = format!(
                "select count(*) from {table} t
                 where position('{text}' in t::text) + position('{hex}' in t::text) > 0"
            );
            if self.number(&rows).await > 0 {
                return true;
            }
        }
        false
    }
}
