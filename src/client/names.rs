//! Resources by id, by the start of an id, or by name.

use uuid::Uuid;

use super::{
    error::{ClientError, ExitClass},
    pages::list_all,
    session::Session,
};
use crate::proto::v1 as pb;

/// The shortest start of an id, in characters.
const MIN_PREFIX: usize = 6;

/// The id of a project: by its id, or by its unique name or the unique start of its id in the chosen
/// organization.
pub(super) async fn project_id(session: &Session, text: &str) -> Result<String, ClientError> {
    if Uuid::try_parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let projects = list_all(async |page_size, page_token| {
        let request = pb::ListProjectsRequest {
            organization_id: session.organization(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.project.list_projects(request).await
        });
        let page = page.await?;
        Ok((page.projects, page.next_page_token))
    });
    let projects = projects.await?.into_iter();
    let named = projects.map(|project| (project.display_name, project.id));
    unique("project", "sluice project list", text, named.collect())
}

/// The id of an organization: by its id, its unique name, or the unique start of its id.
pub(super) async fn organization_id(session: &Session, text: &str) -> Result<String, ClientError> {
    if Uuid::try_parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let organizations = list_all(async |page_size, page_token| {
        let request = pb::ListOrganizationsRequest {
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.organization.list_organizations(request).await
        });
        let page = page.await?;
        Ok((page.organizations, page.next_page_token))
    });
    let named = organizations.await?.into_iter();
    let named = named.map(|organization| (organization.display_name, organization.id));
    let list = "sluice organization list";
    unique("organization", list, text, named.collect())
}

/// The id of a destination. A name or the start of an id needs the project.
pub(super) async fn destination_id(
    session: &Session,
    project_id: Option<&str>,
    text: &str,
) -> Result<String, ClientError> {
    if Uuid::try_parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let Some(project_id) = project_id else {
        return Err(ClientError::usage(format!(
            "{text} is not an id: name the project of this destination with --project"
        )));
    };
    let named = destinations(session, project_id).await?.into_iter();
    let named = named.map(|destination| (destination.display_name, destination.id));
    let list = "sluice destination list";
    unique("destination", list, text, named.collect())
}

/// All destinations of a project.
pub(super) async fn destinations(
    session: &Session,
    project_id: &str,
) -> Result<Vec<pb::Destination>, ClientError> {
    list_all(async |page_size, page_token| {
        let request = pb::ListDestinationsRequest {
            project_id: project_id.to_owned(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.project.list_destinations(request).await
        });
        let page = page.await?;
        Ok((page.destinations, page.next_page_token))
    })
    .await
}

/// The id of the only resource with this name, or else with an id that starts with the text.
fn unique(
    noun: &str,
    list: &str,
    text: &str,
    named: Vec<(String, String)>,
) -> Result<String, ClientError> {
    let by_name: Vec<_> = named.iter().filter(|(name, _)| name == text).collect();
    let by_id = named.iter().filter(|(_, id)| id.starts_with(text));
    let found = match by_name.is_empty() && text.len() >= MIN_PREFIX {
        true => by_id.collect(),
        false => by_name,
    };
    match found[..] {
        [(_, id)] => Ok(id.clone()),
        [] => Err(ClientError::new(
            ExitClass::NotFound,
            format!("no {noun} has the name or id {text}: `{list}` lists them"),
        )),
        _ => Err(ClientError::usage(format!(
            "{} {noun}s match {text}: use the id, which `{list}` shows",
            found.len()
        ))),
    }
}
