//! A terminal in which a command runs.

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitStatus,
    sync::{Arc, Mutex},
};

use pty_process::{OwnedWritePty, Size};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
    task::JoinHandle,
};

use super::fixture::Cli;
use crate::harness::{Process, Sqlite, TestDatabase, TestServer, eventually};

/// A pseudo-terminal, with the screen that its user sees.
pub struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    input: OwnedWritePty,
    modes: OwnedFd,
    child: Child,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Runs a command of a user in a terminal of this size.
    pub fn run(cli: &Cli, arguments: &[&str], rows: u16, columns: u16) -> Self {
        Self::run_with(cli.environment(), arguments, rows, columns)
    }

    /// Runs a command with these variables in a terminal of this size.
    pub fn run_with(
        environment: Vec<(String, String)>,
        arguments: &[&str],
        rows: u16,
        columns: u16,
    ) -> Self {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let modes = pty.as_fd().try_clone_to_owned().unwrap();
        let command = pty_process::Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .env_clear()
            .envs(environment)
            .kill_on_drop(true);
        let child = command.spawn(pts).unwrap();

        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut output, input) = pty.into_split();
        let parser = Arc::clone(&screen);
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            // The terminal of an ended process is an error (EIO) on Linux.
            while let Ok(length @ 1..) = output.read(&mut bytes).await {
                parser.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self {
            screen,
            input,
            modes,
            child,
            reader,
        }
    }

    /// The text on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether the alternate screen is shown, and whether the cursor is hidden.
    pub fn modes(&self) -> (bool, bool) {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        (screen.alternate_screen(), screen.hide_cursor())
    }

    /// Waits until the screen has a text.
    pub async fn shows(&self, text: &str) {
        let shown = eventually("the screen shows the text", async || {
            self.text().contains(text).then_some(())
        });
        shown.await;
    }

    /// Waits until a question is shown, and what is typed is not.
    pub async fn asks_for_a_secret(&self, question: &str) {
        self.shows(question).await;
        let hidden = eventually("the echo is off", async || {
            let modes = tcgetattr(&self.modes).unwrap().local_modes;
            (!modes.contains(LocalModes::ECHO)).then_some(())
        });
        hidden.await;
    }

    /// Types keys.
    pub async fn type_keys(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Changes the size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut parser = self.screen.lock().unwrap();
        parser.screen_mut().set_size(rows, columns);
        self.input.resize(Size::new(rows, columns)).unwrap();
    }

    /// Waits until the command ends and its output is complete.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().await.unwrap();
        (&mut self.reader).await.unwrap();
        status
    }
}

#[tokio::test]
async fn a_password_is_asked_for_without_an_echo() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let cli = Cli::new(&format!("http://{}", server.address));

    let arguments = ["login", "--email", &user.email];
    let mut terminal = Terminal::run(&cli, &arguments, 24, 100);
    terminal.asks_for_a_secret("Password:").await;
    terminal.type_keys(&format!("{}\r", user.password)).await;
    let status = terminal.wait().await;

    let text = terminal.text();
    assert!(status.success(), "{text}");
    assert!(text.contains(&user.email), "{text}");
    assert!(!text.contains(user.password), "{text}");
}

#[tokio::test]
async fn a_new_password_is_asked_for_twice() {
    let server = TestServer::start(Sqlite).await;
    let cli = Cli::new(&format!("http://{}", server.address));

    let arguments = [
        "signup",
        "--email",
        "ada@example.com",
        "--display-name",
        "A",
    ];
    let mut terminal = Terminal::run(&cli, &arguments, 24, 100);
    terminal.asks_for_a_secret("Password:").await;
    terminal.type_keys("correct horse battery\r").await;
    terminal.asks_for_a_secret("Repeat the password:").await;
    terminal.type_keys("correct horse batter\r").await;
    let status = terminal.wait().await;

    assert_eq!(status.code(), Some(2), "{}", terminal.text());
    terminal.shows("the two passwords differ").await;
    assert!(!cli.profile("default").exists());
}

#[tokio::test]
async fn a_long_command_shows_its_progress() {
    let database = TestDatabase::create(Sqlite).await;
    let server = Process::serve(&database, &[]);
    server.channel().await;
    let environment = [
        ("DATABASE_URL", &*database.url),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
        ("SLUICE_ENV_FILE", "off"),
        ("TERM", "xterm"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));

    let arguments = ["admin", "rotate-sealing-key", "--activate-after", "5s"];
    let mut terminal = Terminal::run_with(environment.to_vec(), &arguments, 24, 100);
    terminal
        .shows("waiting until all servers seal with the key")
        .await;
    let status = terminal.wait().await;

    // The progress is gone at the end, and only the result is left.
    let text = terminal.text();
    assert!(status.success(), "{text}");
    assert!(text.contains("values were sealed again"), "{text}");
    assert!(!text.contains("waiting until"), "{text}");
}
