//! Writes log lines in a thread of its own, so that a slow reader of standard error
//! delays nothing else.

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

use super::metrics::LOG_LINES;

/// The number of lines that may wait; more are dropped.
const QUEUE_CAPACITY: usize = 8192;

/// How long a flush waits for a slow reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Accepts log lines without blocking. A clone shares the thread.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Box<[u8]>),
    /// Confirms that all lines before it are written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(QUEUE_CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let thread_dropped = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, &thread_dropped, out))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until all lines are written, up to a timeout for each of two steps.
    pub fn flush(&self) {
        let (done, flushed) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        let step = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(message) {
            if waited >= FLUSH_TIMEOUT {
                return;
            }
            thread::sleep(step);
            waited += step;
            message = unsent;
        }
        // A failure cannot be reported anywhere.
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            LOG_LINES.dropped.inc();
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
        // A log that cannot be written is no reason to stop.
        match message {
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
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

    use super::{LogWriter, QUEUE_CAPACITY};

    /// Blocks writes until it is opened.
    struct Gate {
        opened: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Fails at once when the sender is gone: the gate is open.
            let _ = self.opened.recv();
            self.written.lock().unwrap().extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn logging_does_not_wait_for_the_reader_and_queued_lines_are_written_in_order() {
        let (open, opened) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            opened,
            written: Arc::clone(&written),
        };
        let mut log = LogWriter::start(gate).unwrap();

        for number in 0..3 * QUEUE_CAPACITY {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(open);
        log.flush();

        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        // The line that the thread holds makes room for one more.
        let count = lines.len();
        assert!(
            (QUEUE_CAPACITY..QUEUE_CAPACITY + 2).contains(&count),
            "{count}"
        );
        assert!(
            lines[..QUEUE_CAPACITY]
                .iter()
                .copied()
                .eq(0..QUEUE_CAPACITY)
        );
        assert!(lines.is_sorted());
    }
}
