use tokio::net::TcpListener;

use super::{
    edge_check::{CheckResult, EdgeCheck, Outcome, is_alive},
    ffmpeg,
    hooks::{self, HookWaiter},
};
use crate::{edge::relays::ENCODING_COST, random::random_id};

impl EdgeCheck {
    /// Runs all checks, which takes seconds.
    pub async fn run(&self) -> Vec<CheckResult> {
        let mut results = self.check_control_plane().await;
        let mut add = |subject, outcome| results.push(CheckResult { subject, outcome });
        add("media server", self.check_media_server().await);
        add("disconnecting", self.check_disconnecting().await);
        let ffmpeg = ffmpeg::check(&self.config.ffmpeg).await;
        let has_ffmpeg = ffmpeg.is_ok();
        add("ffmpeg", ffmpeg);
        add("encoders", self.check_encoders(has_ffmpeg).await);
        add("operations port", self.check_operations_port().await);
        add(
            "hooks",
            match has_ffmpeg {
                true => self.check_hooks().await,
                false => Err("not tested: the test publisher needs ffmpeg".to_owned()),
            },
        );
        results
    }

    async fn check_media_server(&self) -> Outcome {
        let snapshot = self.media_server.snapshot().await;
        let snapshot = snapshot.map_err(|error| {
            format!(
                "{error:#}: SLUICE_MEDIA_SERVER_API must be the address of {}, as in {}",
                self.api_name(),
                self.configuration_file()
            )
        })?;
        let name = self.server_name();
        Ok(format!(
            "{name} lists {} publishers",
            snapshot.publishers.len()
        ))
    }

    async fn check_disconnecting(&self) -> Outcome {
        let asked = self.media_server.kick_nobody().await;
        asked.map_err(|error| {
            format!(
                "{error:#}: the edge disconnects publishers through {}, as in {}",
                self.api_name(),
                self.configuration_file()
            )
        })?;
        Ok("publishers can be disconnected".to_owned())
    }

    /// Whether destinations with limits of their video can be sent to.
    async fn check_encoders(&self, has_ffmpeg: bool) -> Outcome {
        let capacity = self.config.relay_capacity;
        if i64::from(capacity) < ENCODING_COST {
            return Ok(format!(
                "not needed: a relay that encodes counts as {ENCODING_COST}, and \
                 SLUICE_RELAY_CAPACITY is {capacity}"
            ));
        }
        match has_ffmpeg {
            true => ffmpeg::check_encoders(&self.config.ffmpeg).await,
            false => Err("not tested: encoding needs ffmpeg".to_owned()),
        }
    }

    async fn check_operations_port(&self) -> Outcome {
        let Some(address) = self.config.edge_operations_listen.0 else {
            return Ok("off".to_owned());
        };
        match TcpListener::bind(address).await {
            Ok(_) => Ok(address.to_string()),
            Err(_) if is_alive(address).await => Ok(format!("{address}, in use by an edge")),
            Err(error) => Err(format!(
                "cannot listen on {address} (SLUICE_EDGE_OPERATIONS_LISTEN): {error}"
            )),
        }
    }

    /// Publishes with a random stream key, and looks for the hook.
    async fn check_hooks(&self) -> Outcome {
        let stream_key = format!("sluice-check-{}", random_id());
        let waiter = HookWaiter::start(self, &stream_key).await?;
        let server = self.config.media_server_rtmp.trim_end_matches('/');
        let url = format!("{server}/{}/{stream_key}", self.application);
        let published = ffmpeg::publish(&self.config.ffmpeg, &url).await;
        hooks::explain(self, waiter.finish().await, &published)
    }
}
