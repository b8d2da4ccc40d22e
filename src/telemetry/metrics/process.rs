//! The process, from `/proc`, under the names that every client library uses.

use std::fs;

use parking_lot::Mutex;
use prometheus::{Counter, Encoder, Gauge, IntGauge, IntGaugeVec, TextEncoder, default_registry};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::registry::{fraction, fraction_counter, gauge, gauges, metrics};

metrics! {
    /// The process and its version.
    static PROCESS: ProcessMetrics {
        build: IntGaugeVec = gauges("sluice_build_info", "Version of the program.", &["version"]);
        cpu: Counter = fraction_counter(
            "process_cpu_seconds_total",
            "Processor time of the process, in seconds.",
        );
        resident: IntGauge =
            gauge("process_resident_memory_bytes", "Resident memory of the process, in bytes.");
        virtual_size: IntGauge =
            gauge("process_virtual_memory_bytes", "Address space of the process, in bytes.");
        threads: IntGauge = gauge("process_threads", "Threads of the process.");
        open_fds: IntGauge = gauge("process_open_fds", "Open files and sockets.");
        max_fds: IntGauge = gauge("process_max_fds", "Maximum number of open files and sockets.");
        start_time: Gauge =
            fraction("process_start_time_seconds", "Start of the process, in seconds since 1970.");
    }
}

/// The value of the metric `cpu`, locked while it is updated.
static CPU_SECONDS: Mutex<f64> = Mutex::new(0.0);

/// The fields of `/proc/self/stat` (proc(5)).
struct Stat {
    cpu_ticks: u64,
    threads: i64,
    start_ticks: u64,
    virtual_bytes: i64,
    resident_pages: i64,
}

/// All registered metrics in the Prometheus text format 0.0.4, with those of the process.
pub fn exposition() -> String {
    update_process();
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&default_registry().gather(), &mut text) {
        tracing::warn!(%error, "cannot encode the metrics");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Updates the metrics from `/proc`; what cannot be read keeps its value.
fn update_process() {
    let process = &*PROCESS;
    let version = [env!("CARGO_PKG_VERSION")];
    process.build.with_label_values(&version).set(1);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        process.open_fds.set(to_i64(open.count()));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        process.max_fds.set(to_i64(limit));
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some(stat) = parse(&stat) else { return };
    let ticks_per_second = clock_ticks_per_second() as f64;

    process.threads.set(stat.threads);
    process.virtual_size.set(stat.virtual_bytes);
    let page_bytes = to_i64(page_size());
    process.resident.set(stat.resident_pages * page_bytes);
    let cpu = stat.cpu_ticks as f64 / ticks_per_second;
    let mut counted = CPU_SECONDS.lock();
    process.cpu.inc_by((cpu - *counted).max(0.0));
    *counted = cpu;
    if let Some(boot) = boot_time() {
        let start = boot + stat.start_ticks as f64 / ticks_per_second;
        process.start_time.set(start);
    }
}

/// Parses the fields after the name, which may contain spaces and parentheses.
fn parse(stat: &str) -> Option<Stat> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    // The first field here has number 3 in the manual.
    let field = |number: usize| fields.get(number - 3).copied();
    let ticks = |number| field(number)?.parse::<u64>().ok();
    let number = |number| field(number)?.parse::<i64>().ok();
    Some(Stat {
        cpu_ticks: ticks(14)? + ticks(15)?,
        threads: number(20)?,
        start_ticks: ticks(22)?,
        virtual_bytes: number(23)?,
        resident_pages: number(24)?,
    })
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.parse().ok()
}

fn to_i64(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
