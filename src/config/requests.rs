use std::time::Duration;

use clap::Args;

use super::parse::{span, within};

/// The settings of how calls are answered.
#[derive(Debug, Clone, Args)]
pub struct RequestSettings {
    /// How long a unary call may take, if its caller gives it no less time
    /// (`grpc-timeout`). Then it is DEADLINE_EXCEEDED.
    #[arg(long, env = "SLUICE_CALL_TIMEOUT", default_value = "10s", value_parser = span("100ms", "10min"))]
    pub call_timeout: Duration,

    /// How many calls are worked on at once; more are refused. The last eighth is
    /// for media servers and relay workers.
    #[arg(long, env = "SLUICE_MAX_CALLS", default_value = "2048", value_parser = within(8..=1_000_000))]
    pub max_calls: u32,
}
