use std::sync::LazyLock;

use prometheus::{Encoder, TextEncoder, default_registry};

use super::{DATABASE, JOBS, LOG_LINES, PASSWORDS, SERVER, TRACES, calls, process};

/// All metrics in the Prometheus text format 0.0.4.
pub fn text() -> String {
    // Registers all metrics, so that unused ones are exposed as zero.
    LazyLock::force(&DATABASE);
    LazyLock::force(&JOBS);
    LazyLock::force(&LOG_LINES);
    LazyLock::force(&PASSWORDS);
    LazyLock::force(&SERVER);
    LazyLock::force(&TRACES);
    calls::register();
    process::update();

    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&default_registry().gather(), &mut text) {
        tracing::warn!(%error, "cannot encode the metrics");
    }
    String::from_utf8_lossy(&text).into_owned()
}
