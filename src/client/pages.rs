use clap::Args;

use super::error::ClientError;

/// The largest page that the API returns.
const MAX_PAGE: usize = 200;

/// How much of a list is printed.
#[derive(Args)]
pub struct Limit {
    /// The largest number of entries, newest first.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl Limit {
    /// Reads pages up to the limit. If there are more entries, a note on standard error says so.
    pub async fn list<T>(
        &self,
        fetch: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), ClientError>,
    ) -> Result<Vec<T>, ClientError> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (entries, has_more) = read(limit, fetch).await?;
        if has_more {
            eprintln!("sluice: only the first {limit} entries are shown: use --limit for more");
        }
        Ok(entries)
    }
}

/// Reads all pages of a list.
pub(super) async fn list_all<T>(
    fetch: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), ClientError>,
) -> Result<Vec<T>, ClientError> {
    Ok(read(usize::MAX, fetch).await?.0)
}

/// Reads pages up to a limit; returns whether there are more entries.
async fn read<T>(
    limit: usize,
    fetch: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), ClientError>,
) -> Result<(Vec<T>, bool), ClientError> {
    let page_size = i32::try_from(limit.min(MAX_PAGE)).unwrap_or(i32::MAX);
    let (mut entries, mut token) = (Vec::new(), String::new());
    loop {
        let (page, next) = fetch(page_size, token).await?;
        entries.extend(page);
        let has_more = !next.is_empty() || entries.len() > limit;
        if next.is_empty() || entries.len() >= limit {
            entries.truncate(limit);
            return Ok((entries, has_more));
        }
        token = next;
    }
}
