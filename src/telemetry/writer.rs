//! What is logged leaves through a thread of its own, so that a slow reader of
//! standard error holds up nothing else.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::metrics::LINES;

/// How many lines may wait.
const KEPT: usize = 8192;

/// How long the end of the program waits for a reader.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes lines of the log. A clone shares the thread.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Box<[u8]>),
    /// Everything before it was written.
    Mark(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread, which writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(KEPT);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, &counted, out))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until everything that was logged is written, but not for a reader that
    /// does not read.
    pub fn flush(&self) {
        let (mark, written) = mpsc::sync_channel(1);
        let mut message = Message::Mark(mark);
        let step = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while let Err(TrySendError::Full(again)) = self.queue.try_send(message) {
            if waited >= PATIENCE {
                return;
            }
            thread::sleep(step);
            waited += step;
            message = again;
        }
        // There is nobody to tell if it was not.
        let _ = written.recv_timeout(PATIENCE);
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            LINES.drop_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_all(lines: &Receiver<Message>, dropped: &AtomicU64, mut out: impl Write) {
    for message in lines {
        // A log that nobody can read any more is no reason to stop.
        match message {
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Mark(mark) => {
                let _ = out.flush();
                let _ = mark.send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lines = lost, "lines of the log were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, mpsc},
    };

    use super::{KEPT, LogWriter};

    /// Writes nothing before it may, then everything.
    struct Gate {
        opened: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Open once, open for ever.
            let _ = self.opened.recv();
            self.written.lock().unwrap().extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_does_not_wait_for_a_reader_and_what_was_kept_is_written_in_order() {
        let (open, opened) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            opened,
            written: Arc::clone(&written),
        };
        let mut log = LogWriter::start(gate).unwrap();

        for number in 0..3 * KEPT {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(open);
        log.flush();

        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        assert!((KEPT..KEPT + 2).contains(&lines.len()), "{}", lines.len());
        // The one that the thread has in hand makes room for another one, some time.
        assert!(lines.iter().copied().take(KEPT).eq(0..KEPT));
        assert!(lines.is_sorted());
    }
}
