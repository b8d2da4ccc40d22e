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

/// Whether a process runs; one that has ended may still be listed, without a command line.
pub fn runs(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// The ffmpegs that an edge has started, in the order of their numbers.
pub fn pids_of_relays(edge: u32) -> Vec<u32> {
    let mut pids = children(edge);
    pids.retain(|pid| command_line(*pid).starts_with("ffmpeg "));
    pids.sort_unstable();
    pids
}

/// All processes that a process has started, and those that they have.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children = children(pid);
    let deeper = children.iter().flat_map(|child| descendants(*child));
    children.iter().copied().chain(deeper).collect()
}

fn children(pid: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{pid}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    all().filter(is_child).collect()
}
