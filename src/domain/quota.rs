text_enum! {
    /// What the quota of an organization limits.
    pub enum QuotaKind {
        /// Projects.
        Projects = "projects",
        /// Destinations, of all projects together.
        Destinations = "destinations",
        /// Streams that have not ended, at the same time.
        LiveStreams = "live_streams",
        /// Minutes of streams in a month (UTC).
        StreamMinutes = "stream_minutes",
        /// Bytes whose delivery to destinations is proved, in a month (UTC).
        DeliveredBytes = "delivered_bytes",
        /// Members.
        Members = "members",
    }
}

/// The limits of an organization, or what it uses of them: a number of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Projects; `None` means no limit, as in the other fields.
    pub projects: Option<i64>,
    /// Destinations, of all projects together.
    pub destinations: Option<i64>,
    /// Streams that have not ended, at the same time.
    pub live_streams: Option<i64>,
    /// Minutes of streams in a month (UTC).
    pub stream_minutes: Option<i64>,
    /// Bytes whose delivery to destinations is proved, in a month (UTC).
    pub delivered_bytes: Option<i64>,
    /// Members.
    pub members: Option<i64>,
}

impl Quota {
    /// The number of a kind.
    pub fn of(&self, kind: QuotaKind) -> Option<i64> {
        match kind {
            QuotaKind::Projects => self.projects,
            QuotaKind::Destinations => self.destinations,
            QuotaKind::LiveStreams => self.live_streams,
            QuotaKind::StreamMinutes => self.stream_minutes,
            QuotaKind::DeliveredBytes => self.delivered_bytes,
            QuotaKind::Members => self.members,
        }
    }

    /// The first limit of these kinds that is reached by what is used.
    pub fn reached(&self, used: &Self, kinds: &[QuotaKind]) -> Option<QuotaExcess> {
        self.find(kinds, |kind, limit| {
            used.of(kind).is_some_and(|used| used >= limit)
        })
    }

    /// The first limit of these kinds that is less than what is used.
    pub fn exceeded(&self, used: &Self, kinds: &[QuotaKind]) -> Option<QuotaExcess> {
        self.find(kinds, |kind, limit| {
            used.of(kind).is_some_and(|used| used > limit)
        })
    }

    fn find(
        &self,
        kinds: &[QuotaKind],
        is_met: impl Fn(QuotaKind, i64) -> bool,
    ) -> Option<QuotaExcess> {
        kinds.iter().find_map(|&kind| {
            let limit = self.of(kind)?;
            is_met(kind, limit).then_some(QuotaExcess { kind, limit })
        })
    }
}

/// A limit that is reached, or exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaExcess {
    /// What it limits.
    pub kind: QuotaKind,
    /// The limit.
    pub limit: i64,
}

impl std::fmt::Display for QuotaExcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, limit } = self;
        match kind {
            QuotaKind::Projects => write!(f, "it may have {limit} projects"),
            QuotaKind::Destinations => write!(f, "it may have {limit} destinations"),
            QuotaKind::LiveStreams => write!(f, "it may have {limit} streams at a time"),
            QuotaKind::StreamMinutes => write!(f, "it may stream {limit} minutes a month"),
            QuotaKind::DeliveredBytes => write!(f, "it may deliver {limit} bytes a month"),
            QuotaKind::Members => write!(f, "it may have {limit} members"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_by_as_much_as_it_allows() {
        let quota = Quota {
            projects: Some(2),
            live_streams: Some(0),
            ..Quota::default()
        };
        let used = |projects| Quota {
            projects: Some(projects),
            live_streams: Some(0),
            destinations: Some(1000),
            ..Quota::default()
        };
        let reached = |used: Quota, kind| quota.reached(&used, &[kind]).map(|one| one.limit);

        assert_eq!(reached(used(1), QuotaKind::Projects), None);
        assert_eq!(reached(used(2), QuotaKind::Projects), Some(2));
        assert_eq!(reached(used(0), QuotaKind::LiveStreams), Some(0));
        let exceeded = |used: Quota| quota.exceeded(&used, &[QuotaKind::Projects]);
        assert_eq!(exceeded(used(2)), None);
        assert_eq!(exceeded(used(3)).map(|one| one.limit), Some(2));
        assert_eq!(reached(used(0), QuotaKind::Destinations), None);
    }
}
