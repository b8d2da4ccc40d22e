use std::{fs, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;
use tonic::{
    Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    client::{ClientError, ExitClass, OutputFormat},
    commands::{error::CommandError, settings::resolve_without_file},
    config::{OperatorConfig, Settings},
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

/// The options of every command that calls a server.
#[derive(Args)]
pub(in crate::commands) struct ApiOptions {
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
    #[command(flatten)]
    settings: Settings<OperatorConfig>,
}

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

/// The server, with an access token of the operator key.
pub(super) struct OperatorSession {
    client: OperatorClient,
    server: String,
    output: OutputFormat,
}

impl OperatorSession {
    /// Calls the server once.
    pub async fn call<Q, M>(
        &self,
        request: Q,
        call: impl AsyncFnOnce(OperatorClient, Q) -> Result<Response<M>, Status>,
    ) -> Result<M, ClientError> {
        let answer = call(self.client.clone(), request).await;
        let answer = answer.map_err(|status| explain(&status, &self.server))?;
        Ok(answer.into_inner())
    }

    /// The format of the output.
    pub fn output(&self) -> OutputFormat {
        self.output
    }
}

/// Runs a command with a session at the server.
pub(super) fn run_with(
    options: ApiOptions,
    command: impl AsyncFnOnce(&OperatorSession) -> Result<(), ClientError>,
) -> Result<(), CommandError> {
    let ApiOptions { output, settings } = options;
    let settings = resolve_without_file(settings)?;
    for warning in &settings.unknown {
        eprintln!("sluice: {warning}");
    }
    let config = &settings.config;
    let key = operator_key(config)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = config.server.to_string();
        let channel = endpoint(config)?.connect_lazy();
        let client = sign_in(channel, &key).await;
        let session = client.map(|client| OperatorSession {
            client,
            server: server.clone(),
            output,
        });
        let session = session.map_err(|status| explain(&status, &server));
        let result = match session {
            Ok(session) => command(&session).await,
            Err(error) => Err(error),
        };
        result.map_err(CommandError::Client)
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
    Ok(Secret::trimmed(&text))
}

fn endpoint(config: &OperatorConfig) -> anyhow::Result<Endpoint> {
    let endpoint = config.server.endpoint()?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    if !config.server.has_tls() {
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

/// The error of a call. What the remedy of other clients would be, is a setting here.
fn explain(status: &Status, server: &str) -> ClientError {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match reason.as_deref() {
        Some("API_KEY_INVALID" | "ACCESS_TOKEN_INVALID" | "ACCESS_TOKEN_EXPIRED") => {
            ClientError::new(
                ExitClass::Denied,
                "SLUICE_OPERATOR_KEY must be an operator key that is neither revoked nor expired",
            )
        }
        Some("SCOPE_MISSING") => ClientError::new(
            ExitClass::Denied,
            format!(
                "SLUICE_OPERATOR_KEY must have the scope of this command: {}",
                status.message()
            ),
        ),
        _ => ClientError::of_call(status, server),
    }
}
