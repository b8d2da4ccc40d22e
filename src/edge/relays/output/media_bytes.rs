use std::{collections::VecDeque, ops::Range};

/// The most ranges without media that are remembered.
const MAX_RANGES: usize = 32;

/// Which bytes of a connection are media, by their positions in it.
///
/// Replies to a server's pings are acknowledged like media, but prove no delivery.
#[derive(Debug)]
pub(super) struct MediaBytes {
    /// The position of the first byte of media.
    begin: u64,
    /// Later ranges without media, of which some bytes may not be acknowledged yet, in order.
    gaps: VecDeque<Range<u64>>,
    /// The bytes in earlier ranges without media.
    passed: u64,
}

impl MediaBytes {
    /// Media begins at this position.
    pub(super) fn begin_at(begin: u64) -> Self {
        Self {
            begin,
            gaps: VecDeque::new(),
            passed: 0,
        }
    }

    /// The bytes in a range, which follows all previous ones, are no media.
    pub(super) fn exclude(&mut self, range: Range<u64>) {
        let range = range.start.max(self.begin)..range.end;
        if range.is_empty() {
            return;
        }
        let is_full = self.gaps.len() == MAX_RANGES;
        match self.gaps.back_mut() {
            // With too many of them, the media between two counts less.
            Some(last) if last.end >= range.start || is_full => last.end = range.end,
            _ => self.gaps.push_back(range),
        }
    }

    /// The bytes of media before a position, which never decreases between calls.
    pub(super) fn before(&mut self, position: u64) -> u64 {
        while let Some(gap) = self.gaps.pop_front_if(|gap| gap.end <= position) {
            self.passed += gap.end - gap.start;
        }
        let begun = self
            .gaps
            .front()
            .map(|gap| position.saturating_sub(gap.start));
        position
            .saturating_sub(self.begin)
            .saturating_sub(self.passed + begun.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_excluded_ranges_do_not_count() {
        let mut media = MediaBytes::begin_at(1_000);
        media.exclude(900..1_000);
        media.exclude(1_100..1_120);
        media.exclude(1_120..1_140);
        media.exclude(1_500..1_520);
        for (position, bytes) in [
            (0, 0),
            (1_000, 0),
            (1_100, 100),
            (1_110, 100),
            (1_140, 100),
            (1_200, 160),
            (1_600, 540),
        ] {
            assert_eq!(media.before(position), bytes, "before {position}");
        }
    }

    #[test]
    fn many_excluded_ranges_take_bounded_memory_and_count_no_excluded_byte() {
        let mut media = MediaBytes::begin_at(0);
        for start in (0..1_000_000).step_by(100) {
            media.exclude(start..start + 20);
        }
        assert_eq!(media.gaps.len(), MAX_RANGES);
        let counted = media.before(1_000_000);
        assert!(counted > 0 && counted <= 800_000, "{counted}");
    }
}
