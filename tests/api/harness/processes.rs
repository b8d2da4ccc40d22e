//! Processes of this machine: reads `/proc` and sends signals.

use std::fs;

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

/// Sends a signal to a process that must exist.
pub fn send_signal(pid: u32, signal: Signal) {
    assert!(try_signal(pid, signal), "process {pid} exists");
}

/// Sends a signal to a process; returns false if it no longer exists.
pub fn try_signal(pid: u32, signal: Signal) -> bool {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id is not zero");
    match kill_process(pid, signal) {
        Ok(()) => true,
        Err(Errno::SRCH) => false,
        Err(errno) => panic!("signal {signal:?} to process {pid:?}: {errno}"),
    }
}

/// The ids of all processes.
fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The command line of a process, which every user can read; empty after its exit.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The command lines of all processes.
pub fn command_lines() -> impl Iterator<Item = String> {
    all_processes().map(command_line)
}

/// Whether a process is running. A zombie is still listed, but without a command line.
pub fn is_running(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// The child processes of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{pid}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    all_processes().filter(is_child).collect()
}

/// All descendants of a process.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children = children(pid);
    let deeper = children.iter().flat_map(|child| descendants(*child));
    children.iter().copied().chain(deeper).collect()
}
