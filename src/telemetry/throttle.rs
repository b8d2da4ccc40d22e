use std::time::{Duration, Instant};

/// Says of what happens often how often it happened, at most once a second.
#[derive(Debug, Default)]
pub(crate) struct Sparing {
    said: Option<Instant>,
    unsaid: u64,
}

impl Sparing {
    /// It happened once more; how often since the last time that is to be said now, if it is.
    pub fn count(&mut self) -> Option<u64> {
        self.unsaid += 1;
        let is_due = |said: Instant| said.elapsed() >= Duration::from_secs(1);
        if !self.said.is_none_or(is_due) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::Sparing;

    #[test]
    fn what_happens_often_is_said_once() {
        let mut sparing = Sparing::default();

        assert_eq!(sparing.count(), Some(1));
        assert_eq!([sparing.count(), sparing.count()], [None, None]);
        sparing.said = None;
        assert_eq!(sparing.count(), Some(3));
    }
}
