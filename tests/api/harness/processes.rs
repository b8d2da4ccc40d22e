//! Processes of this machine: their list, from /proc, and signals to them.

use std::fs;

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// Sends a signal to a process, which must exist.
pub fn send_signal(pid: u32, signal: Signal) {
    assert!(try_signal(pid, signal), "process {pid} exists");
}

/// Sends a signal to a process; false if it has ended already.
pub fn try_signal(pid: u32, signal: Signal) -> bool {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id is not zero");
    match kill_process(pid, signal) {
        Ok(()) => true,
        Err(Errno::SRCH) => false,
        Err(errno) => panic!("signal {signal:?} to process {pid:?}: {errno}"),
    }
}

/// The ids of all processes.
fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The command line of a process, as every user can read it; empty once it has ended.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// All command lines.
pub fn command_lines() -> impl Iterator<Item = String> {
    all().map(command_line)
}

/// Whether a process runs; one that has ended may still be listed, without a command line.
pub fn runs(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// The child processes of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{pid}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    all().filter(is_child).collect()
}

/// The child processes of a process, and their descendants.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children = children(pid);
    let deeper = children.iter().flat_map(|child| descendants(*child));
    children.iter().copied().chain(deeper).collect()
}
