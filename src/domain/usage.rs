//! Usage: how long projects streamed, and how many bytes were delivered, in each hour.
//!
//! A meter remembers what the records contain of a stream or a relay. Each reading adds only what
//! has come since, so that nothing counts twice, however often and wherever it is read.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate, NaiveTime, TimeDelta};
use uuid::Uuid;

use super::{DestinationId, OrganizationId, ProjectId, StreamId, Time, UsageRecordId};

/// How long after its end a stream is read again: relays report what they have delivered last.
const LATE_REPORTS: TimeDelta = TimeDelta::minutes(2);

/// The most time of a stream that one reading records: each hour is a record. The next reading goes
/// on from there.
const MAX_TIME: TimeDelta = TimeDelta::days(7);

/// What a project used in an hour, or what was delivered to one of its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Its id.
    pub id: UsageRecordId,
    /// The project, which may be deleted.
    pub project_id: ProjectId,
    /// The destination, which may be deleted. `None`: the streams of the project.
    pub destination_id: Option<DestinationId>,
    /// The start of the hour.
    pub hour_time: Time,
    /// The usage.
    pub usage: Usage,
}

/// An amount of usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The time that streams were live, in microseconds.
    pub stream_us: i64,
    /// The bytes that media servers received.
    pub bytes_received: i64,
    /// The bytes whose delivery to destinations is proved.
    pub bytes_delivered: i64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.stream_us = self.stream_us.saturating_add(other.stream_us);
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.bytes_delivered = self.bytes_delivered.saturating_add(other.bytes_delivered);
    }
}

/// Which records are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageFilter {
    /// Only records of this project.
    pub project_id: Option<ProjectId>,
    /// Only records of what was delivered to this destination.
    pub destination_id: Option<DestinationId>,
    /// Only hours that begin at this time or later.
    pub start_time: Time,
    /// Only hours that begin before this time.
    pub end_time: Time,
}

impl UsageFilter {
    /// The start of the month of a time (UTC).
    pub fn month_of(time: Time) -> Time {
        let first = NaiveDate::from_ymd_opt(time.year(), time.month(), 1).unwrap_or_default();
        first.and_time(NaiveTime::MIN).and_utc()
    }
}

/// What usage is recorded under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageKey {
    /// The organization.
    pub owner_id: OrganizationId,
    /// The start of the hour.
    pub hour_time: Time,
    /// The project.
    pub project_id: ProjectId,
    /// The destination; nil for the streams of the project.
    pub destination_id: Uuid,
}

/// A stream whose usage is not completely recorded.
#[derive(Debug, Clone)]
pub struct MeteredStream {
    /// The stream.
    pub stream_id: StreamId,
    /// Its project.
    pub project_id: ProjectId,
    /// The organization.
    pub owner_id: OrganizationId,
    /// When it became live; `None` if it has not.
    pub live_time: Option<Time>,
    /// When it ended.
    pub end_time: Option<Time>,
    /// The number of its connection.
    pub epoch: i64,
    /// The bytes that its connection has received.
    pub bytes_received: i64,
    /// What is recorded.
    pub meter: Option<StreamMeter>,
    /// Its relays.
    pub relays: Vec<MeteredRelay>,
}

/// What the records contain of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamMeter {
    /// Until when its time is recorded.
    pub until_time: Option<Time>,
    /// The connection whose bytes were recorded last.
    pub epoch: i64,
    /// The recorded bytes of that connection.
    pub bytes: i64,
}

/// A relay of a stream whose usage is not completely recorded.
#[derive(Debug, Clone, Copy)]
pub struct MeteredRelay {
    /// The destination.
    pub destination_id: DestinationId,
    /// The bytes whose delivery is proved, over all attempts.
    pub bytes_delivered: i64,
    /// The recorded ones.
    pub recorded: i64,
    /// Whether a worker runs it.
    pub has_lease: bool,
}

/// What a reading of meters adds to the records.
#[derive(Debug, Default)]
pub struct UsageReading {
    /// The usage that came since the last reading.
    pub added: BTreeMap<UsageKey, Usage>,
    /// The new state of the meters of streams.
    pub streams: Vec<(StreamId, StreamMeter)>,
    /// The new state of the meters of relays: the recorded bytes.
    pub relays: Vec<(StreamId, DestinationId, i64)>,
    /// The streams that have no more usage.
    pub finished: Vec<StreamId>,
}

impl UsageReading {
    /// Reads the meters of streams.
    pub fn of(streams: &[MeteredStream], now: Time) -> Self {
        let mut reading = Self::default();
        for stream in streams {
            reading.read(stream, now);
        }
        reading
    }

    fn read(&mut self, stream: &MeteredStream, now: Time) {
        let until = stream.end_time.map_or(now, |end| end.min(now));
        let recorded = stream.meter.and_then(|meter| meter.until_time);
        let since = recorded.or(stream.live_time);
        let reached = since.map(|since| until.clamp(since, since + MAX_TIME));
        if let Some((since, reached)) = since.zip(reached) {
            self.add_time(stream, since, reached);
        }
        let meter = StreamMeter {
            until_time: reached,
            epoch: stream.epoch,
            bytes: stream.bytes_received,
        };
        let bytes_received = stream.new_bytes();
        let usage = Usage {
            bytes_received,
            ..Usage::default()
        };
        self.add(stream, until, Uuid::nil(), usage);
        for relay in &stream.relays {
            let usage = Usage {
                bytes_delivered: (relay.bytes_delivered - relay.recorded).max(0),
                ..Usage::default()
            };
            self.add(stream, until, relay.destination_id.uuid(), usage);
        }

        let is_late = stream.end_time.is_some_and(|end| end + LATE_REPORTS < now);
        let is_complete = reached.is_none_or(|reached| reached >= until);
        if is_late && is_complete && !stream.relays.iter().any(|relay| relay.has_lease) {
            self.finished.push(stream.stream_id);
            return;
        }
        if stream.meter != Some(meter) {
            self.streams.push((stream.stream_id, meter));
        }
        let grown = stream.relays.iter();
        let grown = grown.filter(|relay| relay.bytes_delivered > relay.recorded);
        self.relays.extend(grown.map(|relay| {
            (
                stream.stream_id,
                relay.destination_id,
                relay.bytes_delivered,
            )
        }));
    }

    /// Adds the time of a stream to each hour that it lies in.
    fn add_time(&mut self, stream: &MeteredStream, since: Time, until: Time) {
        let mut from = since;
        while from < until {
            let to = (hour_of(from) + TimeDelta::hours(1)).min(until);
            let usage = Usage {
                stream_us: (to - from).num_microseconds().unwrap_or_default(),
                ..Usage::default()
            };
            self.add(stream, from, Uuid::nil(), usage);
            from = to;
        }
    }

    fn add(&mut self, stream: &MeteredStream, time: Time, destination_id: Uuid, usage: Usage) {
        if usage == Usage::default() {
            return;
        }
        let key = UsageKey {
            owner_id: stream.owner_id,
            hour_time: hour_of(time),
            project_id: stream.project_id,
            destination_id,
        };
        self.added.entry(key).or_default().add(usage);
    }
}

impl MeteredStream {
    /// The bytes that have come since the last reading. A new connection counts from zero.
    fn new_bytes(&self) -> i64 {
        match self.meter {
            Some(meter) if meter.epoch == self.epoch && meter.bytes <= self.bytes_received => {
                self.bytes_received - meter.bytes
            }
            _ => self.bytes_received,
        }
    }
}

/// The start of the hour of a time (UTC).
fn hour_of(time: Time) -> Time {
    let seconds = time.timestamp() - time.timestamp().rem_euclid(3600);
    Time::from_timestamp(seconds, 0).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn stream() -> MeteredStream {
        MeteredStream {
            stream_id: StreamId::generate(),
            project_id: ProjectId::generate(),
            owner_id: OrganizationId::generate(),
            live_time: Some(at(0)),
            end_time: None,
            epoch: 1,
            bytes_received: 0,
            meter: None,
            relays: Vec::new(),
        }
    }

    fn relay(bytes_delivered: i64, recorded: i64) -> MeteredRelay {
        MeteredRelay {
            destination_id: DestinationId::generate(),
            bytes_delivered,
            recorded,
            has_lease: true,
        }
    }

    /// Reads the meters, and moves the stream's meter on.
    fn read(stream: &mut MeteredStream, now: Time) -> UsageReading {
        let reading = UsageReading::of(std::slice::from_ref(stream), now);
        if let Some((_, meter)) = reading.streams.first() {
            stream.meter = Some(*meter);
        }
        reading
    }

    fn total(reading: &UsageReading) -> Usage {
        let mut total = Usage::default();
        for usage in reading.added.values() {
            total.add(*usage);
        }
        total
    }

    #[test]
    fn time_counts_once_in_the_hours_that_it_lies_in() {
        let mut stream = stream();
        assert_eq!(at(0), hour_of(at(0)), "the hour begins here");

        let first = read(&mut stream, at(3000));
        let second = read(&mut stream, at(4000));
        let third = read(&mut stream, at(4000));

        let hours = |reading: &UsageReading| -> Vec<_> {
            let added = reading.added.iter();
            let hours = added.map(|(key, usage)| (key.hour_time, usage.stream_us));
            hours.collect()
        };
        assert_eq!(hours(&first), [(at(0), 3_000_000_000)]);
        assert_eq!(
            hours(&second),
            [(at(0), 600_000_000), (at(3600), 400_000_000)]
        );
        assert_eq!(hours(&third), []);
    }

    #[test]
    fn a_clock_that_goes_back_adds_and_repeats_nothing() {
        let mut stream = stream();
        read(&mut stream, at(100));

        let back = read(&mut stream, at(40));
        let on = read(&mut stream, at(110));

        assert_eq!(total(&back).stream_us, 0);
        assert_eq!(total(&on).stream_us, 10_000_000);
    }

    #[test]
    fn the_time_of_months_is_recorded_by_several_readings() {
        let mut stream = MeteredStream {
            end_time: Some(at(20 * 86_400)),
            ..stream()
        };
        let now = at(100 * 86_400);

        let readings = [0; 3].map(|_| read(&mut stream, now));

        let days = readings
            .each_ref()
            .map(|reading| total(reading).stream_us / 86_400_000_000);
        assert_eq!(days, [7, 7, 6]);
        let finished = readings.map(|reading| reading.finished.len());
        assert_eq!(finished, [0, 0, 1], "not before the last one");
    }

    #[test]
    fn a_stream_that_is_not_live_has_no_time() {
        let mut stream = MeteredStream {
            live_time: None,
            ..stream()
        };
        assert_eq!(total(&read(&mut stream, at(100))), Usage::default());
    }

    #[test]
    fn received_bytes_count_for_each_connection() {
        let mut stream = stream();
        let mut received = |epoch, bytes_received| {
            (stream.epoch, stream.bytes_received) = (epoch, bytes_received);
            total(&read(&mut stream, at(0))).bytes_received
        };

        assert_eq!(received(1, 1000), 1000);
        assert_eq!(received(1, 1500), 500);
        assert_eq!(received(1, 1500), 0);
        assert_eq!(received(2, 1600), 1600, "a new connection");
    }

    #[test]
    fn delivered_bytes_are_those_that_are_not_recorded() {
        let mut stream = stream();
        stream.relays = vec![relay(900, 400), relay(70, 70)];

        let reading = read(&mut stream, at(10));

        assert_eq!(total(&reading).bytes_delivered, 500);
        let grown = (stream.stream_id, stream.relays[0].destination_id, 900);
        assert_eq!(reading.relays, [grown]);
    }

    #[test]
    fn a_month_begins_with_its_first_day_in_utc() {
        let time = |text: &str| text.parse::<Time>().unwrap();
        let month = UsageFilter::month_of(time("2028-02-29T23:59:59.5Z"));
        assert_eq!(month, time("2028-02-01T00:00:00Z"));
    }

    #[test]
    fn a_stream_is_finished_when_no_report_can_come() {
        let mut stream = MeteredStream {
            end_time: Some(at(60)),
            ..stream()
        };
        stream.relays = vec![relay(0, 0)];
        assert!(read(&mut stream, at(61)).finished.is_empty());
        assert!(read(&mut stream, at(600)).finished.is_empty(), "it drains");

        stream.relays[0].has_lease = false;
        let last = read(&mut stream, at(600));

        assert_eq!(last.finished, [stream.stream_id]);
        assert_eq!(total(&last).stream_us, 0, "nothing came after its end");
    }
}
