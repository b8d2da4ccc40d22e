use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type SpawnRequest = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts all processes from one thread.
///
/// The kernel can end a child with its parent (`PR_SET_PDEATHSIG`), where the parent is the
/// thread that started it. This thread lives as long as the spawner; the threads of the
/// runtime may end earlier.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    requests: mpsc::Sender<SpawnRequest>,
}

impl Spawner {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<SpawnRequest>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("relays".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                while let Ok((mut command, reply)) = received.recv() {
                    // If the caller is gone, the child is dropped, which ends it.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a process.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, replied) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        replied.await.map_err(|_| gone())?
    }
}
