use std::net::SocketAddr;

use http::{Method, StatusCode};
use tokio::net::TcpListener;

use super::{
    edge_check::{EdgeCheck, Outcome, is_alive},
    ffmpeg::PublishResult,
};
use crate::{
    config::MediaServerKind,
    edge::{
        hooks::{Arrived, HookProbe},
        servers::HttpApi,
    },
};

/// Waits for the hook of a test publisher: at the hook address, or in the metrics of the edge
/// that runs there.
pub(super) enum HookWaiter {
    /// The check itself receives hooks.
    Own(HookProbe),
    /// A running edge, with the counts of its operations port before; `None` if that is off.
    Edge(Option<Box<(HttpApi, HookCounts)>>),
}

/// The hooks of an edge, from its metrics.
#[derive(Debug, Clone, Copy)]
pub(super) struct HookCounts {
    not_accepted: f64,
    unknown: f64,
}

impl HookWaiter {
    /// Listens for hooks, or finds the edge that does. An error says what else is there.
    pub(super) async fn start(check: &EdgeCheck, stream_key: &str) -> Result<Self, String> {
        let config = &check.config;
        let address = config.hooks_listen;
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Self::Own(HookProbe::start(
                listener,
                &check.hooks_secret,
                config.media_server,
                stream_key,
            ))),
            Err(_) if is_alive(address).await => {
                check_secret(check, address).await?;
                let operations = config.edge_operations_listen.0.map(HttpApi::of_address);
                let counted = match operations {
                    Some(api) => HookCounts::of(&api)
                        .await
                        .map(|counts| Box::new((api, counts))),
                    None => None,
                };
                Ok(Self::Edge(counted))
            }
            Err(error) => Err(format!(
                "cannot listen on {address} (SLUICE_HOOKS_LISTEN): {error}"
            )),
        }
    }

    /// What has arrived; `None` if a running edge does not tell.
    pub(super) async fn finish(self) -> Option<Arrived> {
        let (api, before) = match self {
            Self::Own(probe) => return Some(probe.finish().await),
            Self::Edge(counted) => *counted?,
        };
        let after = HookCounts::of(&api).await?;
        Some(if after.not_accepted > before.not_accepted {
            Arrived::Hook
        } else if after.unknown > before.unknown {
            Arrived::WrongSecret
        } else {
            Arrived::Nothing
        })
    }
}

impl HookCounts {
    async fn of(api: &HttpApi) -> Option<Self> {
        let response = api.get("/metrics").await.ok()?;
        Some(Self::parse(&String::from_utf8_lossy(response.body())))
    }

    fn parse(metrics: &str) -> Self {
        let sum = |name: &str, is_counted: fn(&str) -> bool| {
            let series = metrics.lines().filter_map(|line| line.rsplit_once(' '));
            series
                .filter(|(series, _)| series.starts_with(name) && is_counted(series))
                .filter_map(|(_, value)| value.parse::<f64>().ok())
                .sum::<f64>()
        };
        Self {
            not_accepted: sum("sluice_edge_hooks_total{", |series| {
                series.contains(r#"outcome="refused""#)
                    || series.contains(r#"outcome="unavailable""#)
            }),
            unknown: sum("sluice_edge_unknown_requests_total", |_| true),
        }
    }
}

/// Whether the edge at this address has the same secret and media server: it refuses an empty
/// hook as malformed, and does not know another path.
async fn check_secret(check: &EdgeCheck, address: SocketAddr) -> Result<(), String> {
    let server = match check.config.media_server {
        MediaServerKind::NginxRtmp => "nginx-rtmp/SECRET/publish",
        MediaServerKind::MediaMtx => "mediamtx/SECRET/auth",
        MediaServerKind::Srs => "srs/SECRET/publish",
    };
    let path = server.replace("SECRET", check.hooks_secret.expose());
    let api = HttpApi::of_address(address);
    let answer = api.request(Method::POST, &format!("/hooks/{path}")).await;
    match answer.map(|answer| answer.status()) {
        Ok(StatusCode::BAD_REQUEST) => Ok(()),
        _ => Err(format!(
            "the edge that runs on {address} has another SLUICE_HOOKS_SECRET or \
             SLUICE_MEDIA_SERVER: check with the settings of that edge"
        )),
    }
}

/// What the hook and the end of the test publisher mean.
pub(super) fn explain(
    check: &EdgeCheck,
    arrived: Option<Arrived>,
    published: &PublishResult,
) -> Outcome {
    let (server, file) = (check.server_name(), check.configuration_file());
    let (address, application) = (check.config.hooks_listen, &check.application);
    match (arrived, published) {
        (Some(Arrived::Hook), _) => Ok(format!("{server} asks the edge on {address}")),
        (Some(Arrived::WrongSecret), _) => Err(format!(
            "the hooks of {server} have a wrong secret or path: replace HOOKS_SECRET in {file} by \
             the value of SLUICE_HOOKS_SECRET"
        )),
        (Some(Arrived::OtherServer(kind)), _) => Err(format!(
            "hooks of another media server arrive: SLUICE_MEDIA_SERVER must be {}",
            kind.name()
        )),
        (_, PublishResult::ConnectionRefused) => Err(format!(
            "nothing listens on {} (SLUICE_MEDIA_SERVER_RTMP): start {server}, or correct the \
             address",
            check.config.media_server_rtmp
        )),
        (_, PublishResult::Accepted) => Err(format!(
            "{server} admits everyone to the application {application}: add the hooks of {file}"
        )),
        (None, PublishResult::Failed(_)) => Ok(format!(
            "{server} refuses a publisher with an unknown key (with \
             SLUICE_EDGE_OPERATIONS_LISTEN the check could see whether it asks the edge)"
        )),
        (Some(Arrived::Nothing), PublishResult::Failed(reason)) => Err(format!(
            "{server} refuses a publisher without asking the edge ({reason}): its hooks must go to \
             http://{address}, as in {file}, and --application must name one of its applications, \
             not {application}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::HookCounts;

    #[test]
    fn the_hooks_of_a_running_edge_are_in_its_metrics() {
        let metrics = "# HELP sluice_edge_hooks_total Hooks.\n\
            sluice_edge_hooks_total{hook=\"publish\",outcome=\"accepted\"} 9\n\
            sluice_edge_hooks_total{hook=\"publish\",outcome=\"refused\"} 2\n\
            sluice_edge_hooks_total{hook=\"auth\",outcome=\"unavailable\"} 1\n\
            sluice_edge_unknown_requests_total 4\n";
        let counts = HookCounts::parse(metrics);
        assert_eq!(counts.not_accepted, 3.0);
        assert_eq!(counts.unknown, 4.0);
    }
}
