//! Minimal servers in separate processes, as upper limits.

use std::{convert::Infallible, env, net::SocketAddr, task};

use http::Request;
use sluice::proto::v1 as pb;
use sqlx_postgres::{PgPool, PgPoolOptions};
use tonic::{
    Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, StdError},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use uuid::Uuid;

/// A minimal server that answers GetProject.
#[derive(Clone)]
pub enum Bare {
    /// Answers with a constant project.
    Echo,
    /// Answers with a row, by the statement of GetProject.
    Select(PgPool),
}

/// The statement of `Projects::get`.
const SELECT: &str =
    "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
            p.outage_policy, p.stream_key_hint, s.id as live_stream_id, p.revision,
            p.create_time, p.update_time
     from projects p
     left join streams s on s.project_id = p.id and s.end_time is null
     where p.id = $1 and p.owner_id = $2 and p.delete_time is null
       and ($3 is null or exists (
           select 1 from api_key_projects k
           where k.api_key_id = $3 and k.project_id = p.id))";

/// Serves until it is killed. Prints its address first.
pub async fn serve(kind: &str) -> anyhow::Result<()> {
    let bare = match kind {
        "echo" => Bare::Echo,
        _ => {
            let pool = PgPoolOptions::new()
                .max_connections(env::var("POOL_SIZE")?.parse()?)
                .test_before_acquire(false)
                .connect(&env::var("DATABASE_URL")?)
                .await?;
            Bare::Select(pool)
        }
    };
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .map_err(|error| anyhow::anyhow!(error))?
        .with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    Server::builder()
        .add_service(bare)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

impl NamedService for Bare {
    const NAME: &'static str = "sluice.v1.ProjectService";
}

impl<B> Service<Request<B>> for Bare
where
    B: http_body::Body<Error: Into<StdError> + Send> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(handler, request).await)
        })
    }
}

impl UnaryService<pb::GetProjectRequest> for Bare {
    type Response = pb::GetProjectResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: tonic::Request<pb::GetProjectRequest>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move {
            let project = match bare {
                Self::Echo => pb::Project {
                    id: request.into_inner().project_id,
                    display_name: "Show".to_owned(),
                    ..Default::default()
                },
                Self::Select(pool) => {
                    let owner = request
                        .metadata()
                        .get("owner")
                        .and_then(|id| id.to_str().ok());
                    let owner = owner.unwrap_or_default().to_owned();
                    select(&pool, &request.into_inner().project_id, &owner).await?
                }
            };
            Ok(Response::new(pb::GetProjectResponse {
                project: Some(project),
            }))
        })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    disabled: bool,
    stream_key_hint: String,
    revision: i64,
}

async fn select(pool: &PgPool, id: &str, owner: &str) -> Result<pb::Project, Status> {
    let parse = |id: &str| Uuid::parse_str(id).map_err(|_| Status::invalid_argument("id"));
    let row: Row = sqlx::query_as(SELECT)
        .bind(parse(id)?)
        .bind(parse(owner)?)
        .bind(None::<Uuid>)
        .fetch_one(pool)
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(pb::Project {
        id: row.id.to_string(),
        display_name: row.name,
        disabled: row.disabled,
        stream_key_hint: row.stream_key_hint,
        revision: row.revision,
        ..Default::default()
    })
}
