use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts processes, all from one thread.
///
/// The system can end a child with its parent, but by parent it means the thread that
/// started it. This one lives as long as the spawner does; of the threads that tasks
/// run on nobody promises that.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, taken) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("relays".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                while let Ok((mut command, answer)) = taken.recv() {
                    // Whoever does not wait any more drops the child, which ends it.
                    let _ = answer.send(command.spawn());
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a process.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts processes is gone");
        self.orders.send((command, answer)).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}
