use std::{fs, time::Duration};

use anyhow::Context;
use tokio::runtime::Builder;
use tonic::{
    Code, Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::error::CommandError;
use crate::{
    config::{OperatorConfig, Resolved},
    domain::Secret,
    proto::v1::{
        ExchangeApiKeyRequest, auth_service_client::AuthServiceClient,
        operator_service_client::OperatorServiceClient,
    },
    root_certificates::grpc_client_tls,
};

/// The longest time that connecting, and that one call, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of OperatorService with an access token.
pub(super) type OperatorClient = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// Adds an access token to each call. The token is marked as sensitive.
#[derive(Clone)]
pub(super) struct Bearer(AsciiMetadataValue);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Runs a command with a client of the server.
pub(super) fn with_client<T>(
    settings: &Resolved<OperatorConfig>,
    command: impl AsyncFnOnce(OperatorClient) -> Result<T, Status>,
) -> Result<T, CommandError> {
    let config = &settings.config;
    for warning in &settings.unknown {
        eprintln!("sluice: {warning}");
    }
    let key = operator_key(config)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = endpoint(config)?.connect_lazy();
        let called = async { command(sign_in(channel, &key).await?).await };
        called.await.map_err(|status| explain(config, &status))
    })
}

fn operator_key(config: &OperatorConfig) -> anyhow::Result<Secret> {
    if let Some(key) = &config.operator_key {
        return Ok(key.clone());
    }
    let file = config.operator_key_file.as_deref().unwrap_or("".as_ref());
    let text = fs::read_to_string(file);
    let text =
        text.with_context(|| format!("cannot read {} (SLUICE_OPERATOR_KEY_FILE)", file.display()))?;
    Ok(Secret::new(text.trim()))
}

fn endpoint(config: &OperatorConfig) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from(config.server.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    if config.server.scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let ca = config.ca_file.as_ref().map(|file| {
        let pem = fs::read(file);
        pem.with_context(|| format!("cannot read {} (SLUICE_CA_FILE)", file.display()))
    });
    let tls = grpc_client_tls(ca.transpose()?.as_deref()).context("SLUICE_SERVER")?;
    Ok(endpoint.tls_config(tls)?)
}

/// Exchanges the operator key for an access token, which outlives the command.
async fn sign_in(channel: Channel, key: &Secret) -> Result<OperatorClient, Status> {
    let request = ExchangeApiKeyRequest {
        secret: key.expose().to_owned(),
    };
    let answer = AuthServiceClient::new(channel.clone())
        .exchange_api_key(request)
        .await?
        .into_inner();
    let token = format!("Bearer {}", answer.access_token);
    let mut bearer: AsciiMetadataValue = token
        .parse()
        .map_err(|_| Status::internal("the access token is not a valid header value"))?;
    bearer.set_sensitive(true);
    Ok(OperatorServiceClient::with_interceptor(
        channel,
        Bearer(bearer),
    ))
}

/// The error of a call, with the setting or the argument that it concerns.
fn explain(config: &OperatorConfig, status: &Status) -> CommandError {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (_, Some("API_KEY_INVALID")) => CommandError::Usage(
            "SLUICE_OPERATOR_KEY must be an operator key that is neither revoked nor expired"
                .to_owned(),
        ),
        (_, Some("SCOPE_MISSING")) => CommandError::Usage(format!(
            "SLUICE_OPERATOR_KEY must have the scope of this command: {}",
            status.message()
        )),
        (Code::InvalidArgument, Some(_)) => CommandError::Usage(status.message().to_owned()),
        (_, Some(_)) => anyhow::anyhow!("{}", status.message().to_owned()).into(),
        (_, None) => anyhow::anyhow!(
            "cannot call {} (SLUICE_SERVER): {}",
            config.server,
            status.message()
        )
        .into(),
    }
}
