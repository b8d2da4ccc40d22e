//! A replica in a process of its own, whose calls and periodic work are delayed at random at each
//! of their awaits. The process is this test program, because no other has the delays.

use std::{env, future::pending, process::Stdio};

use sluice::{auth::Keys, database::Database, server, telemetry, transport::BoundSocket};
use tokio::{process::Command, runtime::Builder};

use crate::harness::{AwaitDelays, Process, settings};

/// The test that is the process.
const PROCESS: &str = "clocks::delayed_replica::process_of_a_delayed_replica";

/// The variable with the seed of the delays.
const SEED: &str = "AWAIT_DELAYS_SEED";

/// The command of the process. Its settings are in its environment, as those of `sluice serve`.
pub fn command(seed: u64) -> Command {
    let arguments = ["--exact", PROCESS, "--ignored", "--nocapture"];
    let mut command = Process::program(&env::current_exe().unwrap(), &arguments, &[]);
    command.env(SEED, seed.to_string()).stdout(Stdio::null());
    command
}

#[test]
#[ignore = "other tests start it as a process"]
fn process_of_a_delayed_replica() {
    let seed = env::var(SEED).expect("a test starts it with a seed");
    let delays = AwaitDelays::new(seed.parse().unwrap());
    let config = settings(&[]);
    telemetry::init(&config.log()).unwrap();
    let keys = Keys::load(&config.keys()).unwrap();

    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let served = runtime.block_on(async {
        let socket = BoundSocket::bind(&config.listen[0]).unwrap();
        let address = socket.address().unwrap();
        let database = Database::open(&config.database());
        // What `Process` reads from the log.
        tracing::info!(%address, "serving");
        server::serve_wrapped(vec![socket], database, keys, &config, pending(), delays).await
    });
    panic!("the server ended: {served:?}");
}
