//! The CPU time and memory of processes, from `/proc`.

use std::{fs, time::Duration};

/// A tick of the kernel's CPU accounting.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of a process so far, including its ended children.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name is in parentheses and can contain spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(4);
    TICK * ticks
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum::<u32>()
}

/// The CPU time of all processes of PostgreSQL.
pub fn cpu_of_postgres() -> Duration {
    processes("postgres").into_iter().map(cpu_of).sum()
}

/// The resident memory of a process, in KiB.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or_default()
}

fn processes(name: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim() == name)
    })
    .collect()
}
