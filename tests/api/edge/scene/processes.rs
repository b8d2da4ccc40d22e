use std::fs;

/// The numbers of all processes.
fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The command line of a process, as everybody can list it; empty once it has ended.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// All command lines.
pub fn command_lines() -> impl Iterator<Item = String> {
    all().map(command_line)
}

/// Whether a process is ffmpeg and runs.
pub fn is_ffmpeg(pid: u32) -> bool {
    command_line(pid).starts_with("ffmpeg ")
}

/// The ffmpegs that an edge has started, in the order of their numbers.
pub fn pids_of_relays(edge: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{edge}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    let mut pids: Vec<_> = all()
        .filter(is_child)
        .filter(|pid| is_ffmpeg(*pid))
        .collect();
    pids.sort_unstable();
    pids
}
