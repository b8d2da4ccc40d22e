use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use super::{
    far::{Connection, Far},
    local::{Accepted, Local},
    rewriter::Rewriter,
    watcher::{Said, Watcher},
};
use crate::edge::relays::{
    carrier::{
        trouble::{Trouble, Way},
        words::Secrets,
    },
    relay_failure::RelayFailure,
};

const BUFFER: usize = 64 * 1024;
/// A stream that is closed sooner after it was accepted was refused after all.
const EARLY: Duration = Duration::from_secs(5);
/// How long last words may take, in either direction.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Media on its way between ffmpeg and an RTMP server.
pub(in crate::edge::relays::carrier) struct Carriage {
    way: Way,
    local: Local,
    far: Far,
    bytes: Arc<AtomicU64>,
}

impl Carriage {
    /// Listens for ffmpeg; the far side is connected to when ffmpeg has come.
    pub(in crate::edge::relays::carrier) async fn new(way: Way, far: Far) -> Result<Self, Trouble> {
        let local = Local::new()
            .await
            .map_err(|_| Trouble::Lost("this machine has no port left".into()))?;
        Ok(Self {
            way,
            local,
            far,
            bytes: Arc::default(),
        })
    }

    /// What ffmpeg is given.
    pub(in crate::edge::relays::carrier) fn local_url(&self) -> String {
        self.local.url()
    }

    /// Counts the bytes of media.
    pub(in crate::edge::relays::carrier) fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }

    /// Carries until one side is gone. What went wrong is told before ffmpeg can know it.
    pub(in crate::edge::relays::carrier) async fn run(
        self,
        told: watch::Sender<Option<RelayFailure>>,
    ) {
        let Self {
            way,
            local,
            far,
            bytes,
        } = self;
        let Some(mut accepted) = local.accept(&far.address).await else {
            return;
        };
        let passage = Passage {
            way,
            secrets: Secrets::of(&far.address.name),
            asked: AtomicBool::new(false),
            left: AtomicBool::new(false),
            bytes,
        };
        if let Err(trouble) = passage.carry(&mut accepted, &far).await {
            told.send_replace(Some(trouble.fault(way)));
        }
    }
}

/// What both directions of a connection know.
struct Passage {
    way: Way,
    secrets: Secrets,
    /// ffmpeg has named the stream.
    asked: AtomicBool,
    /// ffmpeg has taken its leave.
    left: AtomicBool,
    bytes: Arc<AtomicU64>,
}

/// Which side is gone without a fault of the far one.
struct LocalIsGone;

impl Passage {
    async fn carry(&self, accepted: &mut Accepted, far: &Far) -> Result<(), Trouble> {
        let far: Box<dyn Connection> = far.connect().await?;
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let Accepted {
            stream,
            rewriter,
            out,
        } = accepted;
        let (local_read, local_write) = stream.split();

        let back = self.back(&mut far_read, local_write);
        tokio::pin!(back);
        let out = tokio::select! {
            end = &mut back => return end.map(drop),
            out = self.out(local_read, &mut far_write, rewriter, out) => out,
        };
        match out {
            Ok(LocalIsGone) => {
                let _ = timeout(LAST_WORDS, far_write.shutdown()).await;
                Ok(())
            }
            // The reason may be among what was not read yet.
            Err(trouble) => match timeout(LAST_WORDS, back).await {
                Ok(Err(told)) => Err(told),
                _ => Err(trouble),
            },
        }
    }

    /// From ffmpeg to the far side.
    async fn out(
        &self,
        mut local: impl AsyncRead + Unpin,
        far: &mut (impl AsyncWrite + Unpin),
        rewriter: &mut Rewriter,
        out: &mut Vec<u8>,
    ) -> Result<LocalIsGone, Trouble> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let is_media = self.way == Way::Sending && self.asked.load(Ordering::Relaxed);
            self.asked.store(rewriter.asked(), Ordering::Relaxed);
            self.left.store(rewriter.left(), Ordering::Relaxed);
            if self.write(far, out, is_media).await.is_err() {
                return Err(Trouble::Lost("the connection was lost".into()));
            }
            out.clear();
            let read = match local.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(LocalIsGone),
                Ok(read) => read,
            };
            if rewriter.feed(&buffer[..read], out).is_err() {
                return Ok(LocalIsGone);
            }
        }
    }

    /// From the far side to ffmpeg; what is said on the way is heard.
    async fn back(
        &self,
        far: &mut (impl AsyncRead + Unpin),
        mut local: impl AsyncWrite + Unpin,
    ) -> Result<LocalIsGone, Trouble> {
        let mut watcher = Some(Watcher::new());
        let mut started = None;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = match far.read(&mut buffer).await {
                Ok(0) | Err(_) if self.left.load(Ordering::Relaxed) => return Ok(LocalIsGone),
                Ok(0) => return Err(self.gone(started)),
                Err(_) => return Err(Trouble::Lost("the connection was lost".into())),
                Ok(read) => read,
            };
            let bytes = &buffer[..read];
            match watcher.as_mut().map(|watcher| watcher.feed(bytes)) {
                Some(Ok(said)) => self.hear(said, &mut started)?,
                Some(Err(_)) => watcher = None,
                None => {}
            }
            let is_media = self.way == Way::Reading && started.is_some();
            if self.write(&mut local, bytes, is_media).await.is_err() {
                return Ok(LocalIsGone);
            }
            // What follows is media.
            if is_media {
                watcher = None;
            }
        }
    }

    fn hear(&self, said: Vec<Said>, started: &mut Option<Instant>) -> Result<(), Trouble> {
        for said in said {
            match said {
                Said::Started => *started = started.or_else(|| Some(Instant::now())),
                Said::Refused(words) => return Err(Trouble::Refused(self.secrets.clean(&words))),
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
        is_media: bool,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = to.write(bytes).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            if is_media {
                self.bytes.fetch_add(written as u64, Ordering::Relaxed);
            }
        }
        to.flush().await
    }

    /// What it means that the far side is gone.
    fn gone(&self, started: Option<Instant>) -> Trouble {
        match started {
            Some(at) if self.way == Way::Sending && at.elapsed() < EARLY => Trouble::ClosedEarly,
            Some(_) => Trouble::Lost("the connection was lost".into()),
            None if self.asked.load(Ordering::Relaxed) => {
                Trouble::Refused("it closed the connection when the stream was named".into())
            }
            None => {
                Trouble::Refused("it closed the connection when the application was named".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    #[test]
    fn what_it_means_that_a_side_is_gone_depends_on_how_far_it_was() {
        let long_ago = Instant::now().checked_sub(EARLY);
        let passage = |way, asked| Passage {
            way,
            secrets: Secrets::of(&Secret::new("k")),
            asked: AtomicBool::new(asked),
            left: AtomicBool::new(false),
            bytes: Arc::default(),
        };
        for (way, asked, started, code) in [
            (Way::Sending, false, None, "DESTINATION_REFUSED"),
            (Way::Sending, true, None, "DESTINATION_REFUSED"),
            (
                Way::Sending,
                true,
                Some(Instant::now()),
                "DESTINATION_CLOSED_EARLY",
            ),
            (Way::Sending, true, long_ago, "DESTINATION_LOST"),
            (Way::Reading, true, None, "INPUT_REFUSED"),
            (Way::Reading, true, Some(Instant::now()), "INPUT_LOST"),
        ] {
            let trouble = passage(way, asked).gone(started);
            assert_eq!(trouble.fault(way).code, code, "{way:?} {asked} {started:?}");
        }
    }
}
