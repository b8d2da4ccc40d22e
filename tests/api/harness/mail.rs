use std::fs;

use sluice::database::Target;

use super::{TestDatabase, eventually};

/// A message that came to somebody.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Its header lines.
    pub headers: Vec<String>,
    /// What follows them.
    pub body: String,
}

impl Mail {
    /// Reads a message as it is sent (RFC 5322).
    pub fn read(text: &str) -> Self {
        let (headers, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        Self {
            headers: headers.split("\r\n").map(str::to_owned).collect(),
            body: body.replace("\r\n", "\n"),
        }
    }

    /// The value of a header that it has once.
    pub fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        let mut values = self.headers.iter().filter_map(|h| h.strip_prefix(&prefix));
        let value = values.next().expect("it has the header");
        assert_eq!(values.next(), None, "{name}");
        value
    }

    /// The one token in it.
    pub fn token(&self) -> String {
        let at = self.body.find("slm_").expect("it has a token");
        let token = &self.body[at..at + 68];
        assert!(token[4..].bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(self.body.matches("slm_").count(), 1);
        token.to_owned()
    }
}

impl TestDatabase {
    /// The messages in its server's folder to an address, with a word in their
    /// subject, oldest first.
    pub fn mails(&self, email: &str, about: &str) -> Vec<Mail> {
        let folder = self.directory.path().join("mail");
        let Ok(files) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort_unstable();
        files
            .iter()
            .map(|file| Mail::read(&fs::read_to_string(file).unwrap()))
            .filter(|mail| mail.header("To") == email && mail.header("Subject").contains(about))
            .collect()
    }

    /// The last message of so many to an address, once they are there and no
    /// other is to come.
    pub async fn mail(&self, email: &str, about: &str, number: usize) -> Mail {
        eventually("the message comes", async || {
            (self.mails(email, about).len() == number).then_some(())
        })
        .await;
        self.no_mail_waits().await;
        let mut mails = self.mails(email, about);
        assert_eq!(mails.len(), number, "{mails:?}");
        mails.remove(number - 1)
    }

    /// Waits until all messages that were asked for are sent or dropped.
    pub async fn no_mail_waits(&self) {
        eventually("the outbox is empty", async || {
            let waiting = self.number("select count(*) from outbox").await;
            (waiting == 0).then_some(())
        })
        .await;
    }

    /// Whether a text, or a value of these bytes, stands somewhere in these tables.
    pub async fn keeps(&self, tables: &[&str], text: &str) -> bool {
        if let Ok(Target::Sqlite(file)) = self.url.parse() {
            let log = file.with_extension("db-wal");
            assert!(log.exists(), "what was written last is in the log");
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
