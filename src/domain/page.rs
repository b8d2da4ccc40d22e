use uuid::Uuid;

/// Which part of a list is wanted; lists run from the newest id to the oldest.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// How many at most: 1 to 200.
    pub size: usize,
    /// Only ids below this one; the greatest UUID for the first page.
    pub below: Uuid,
}

impl Page {
    /// One more than is shown: whether it exists tells whether there is another page.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }
}
