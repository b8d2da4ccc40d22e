use uuid::Uuid;

/// A page of a list. Lists are ordered from the newest id to the oldest.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The page size: 1 to 200.
    pub size: usize,
    /// Only ids below this one; the greatest UUID for the first page.
    pub below: Uuid,
}

impl Page {
    /// The number of rows to read: one more than the page size, to detect another page.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }
}
