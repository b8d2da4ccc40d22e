//! The process of the attackers, so that they neither share threads with the honest callers
//! nor take the processor from them: it has the lowest priority.

use std::{
    env,
    io::{self, Read},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, runtime};

use crate::attack::{ATTACKS, Attack, Target};

/// The argument that makes this program the attackers.
pub const ARGUMENT: &str = "attackers";

/// The lowest priority that a process can have.
const LOWEST_PRIORITY: i32 = 19;

/// Runs an attack in a process of its own. Returns how long each connection stayed, or `None`
/// if it was still open at the end.
pub async fn start(
    attack: &Attack,
    target: &Target,
    time: Duration,
) -> anyhow::Result<Vec<Option<Duration>>> {
    let mut process = Command::new(env::current_exe()?)
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let order = json!({
        "name": attack.name,
        "address": target.address.to_string(),
        "token": target.token,
        "project_id": target.project_id,
        "seconds": time.as_secs(),
    });
    let mut input = process.stdin.take().context("its input")?;
    input.write_all(order.to_string().as_bytes()).await?;
    drop(input);
    let output = process.wait_with_output().await?;
    anyhow::ensure!(output.status.success(), "the attackers failed");
    let millis: Vec<Option<u64>> = serde_json::from_slice(&output.stdout)?;
    Ok(millis
        .into_iter()
        .map(|stay| stay.map(Duration::from_millis))
        .collect())
}

/// Runs the attack that the standard input describes, and prints how long each connection
/// stayed, in milliseconds.
pub fn run() -> anyhow::Result<()> {
    rustix::process::nice(LOWEST_PRIORITY)?;
    let mut order = String::new();
    io::stdin().read_to_string(&mut order)?;
    let order: Value = serde_json::from_str(&order)?;
    let text = |key: &str| order[key].as_str().map(str::to_owned).context("an order");
    let name = text("name")?;
    let attack = ATTACKS.iter().find(|attack| attack.name == name);
    let target = Target {
        address: text("address")?.parse()?,
        token: text("token")?,
        project_id: text("project_id")?,
    };
    let time = Duration::from_secs(order["seconds"].as_u64().context("a time")?);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let stays = runtime.block_on(attack.context("an attack")?.run(&target, time));
    let millis = |stay: &Option<Duration>| stay.map(|stay| stay.as_millis() as u64);
    println!("{}", json!(stays.iter().map(millis).collect::<Vec<_>>()));
    Ok(())
}
