//! A budget for the frames that carry no request data.
//!
//! SETTINGS, PING, PRIORITY, WINDOW_UPDATE, RST_STREAM and unknown frames cost the peer
//! nothing, and h2 answers or drops as many as arrive. Here each costs one credit, and so
//! does every HEADERS frame, also of a call that h2 refuses itself. Credit comes with what
//! the server sends: an honest peer sends control frames because of its calls and of the
//! data that it receives. It also comes with time, for peers that only keep their
//! connection alive.
//!
//! DATA frames are free if they are not empty: windows limit them, and h2 limits small
//! ones.

use std::time::Instant;

use super::http2_frames::{DATA, END_STREAM, FrameHead, HEAD_SIZE, HEADERS};

/// The credit of a new connection, and the most that there can be, in frames: four for
/// each of the calls that may be open at once by default.
const MAX_FRAMES: u32 = 1_000;

/// The frames that each second adds. Keepalive, the slowest clients' window updates and
/// cancelled calls together are far below.
const FRAMES_PER_SECOND: u32 = 100;

/// The frames that a response, or its trailers, add. A call takes about five: HEADERS,
/// RST_STREAM, two WINDOW_UPDATE, a PING of gRPC's bandwidth estimation.
const FRAMES_PER_HEADERS: u32 = 10;

/// The bytes of DATA frames, with their headers, that add a frame. A client may answer each
/// small message with two WINDOW_UPDATE and a PING; a peer whose window admits single
/// bytes gets less than it spends.
const BYTES_PER_FRAME: u32 = 16;

/// In sixteenths of a frame, so that sent bytes count exactly.
const MAX_CREDIT: u32 = MAX_FRAMES * BYTES_PER_FRAME;

/// The frames that a peer may still send.
#[derive(Debug)]
pub(super) struct FrameBudget {
    /// In units of 1/[`BYTES_PER_FRAME`] frames.
    credit: u32,
    /// When time was last converted into credit.
    refilled_at: Instant,
}

/// The budget does not allow a received frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BudgetExceeded;

impl FrameBudget {
    /// The budget of a connection that opens now.
    pub fn new(now: Instant) -> Self {
        Self {
            credit: MAX_CREDIT,
            refilled_at: now,
        }
    }

    /// Charges a received frame. The time is asked for only if the credit is used up.
    pub fn receive(
        &mut self,
        head: FrameHead,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), BudgetExceeded> {
        if head.kind == DATA && (head.length > 0 || head.flags & END_STREAM != 0) {
            return Ok(());
        }
        if self.credit < BYTES_PER_FRAME {
            self.refill(now());
        }
        let left = self.credit.checked_sub(BYTES_PER_FRAME);
        self.credit = left.ok_or(BudgetExceeded)?;
        Ok(())
    }

    /// Adds the credit of a sent frame.
    pub fn send(&mut self, head: FrameHead) {
        match head.kind {
            DATA => self.add(u32::try_from(HEAD_SIZE + head.length).unwrap_or(u32::MAX)),
            HEADERS => self.add(FRAMES_PER_HEADERS * BYTES_PER_FRAME),
            _ => {}
        }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let millis = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        self.add(millis.saturating_mul(FRAMES_PER_SECOND * BYTES_PER_FRAME) / 1_000);
        self.refilled_at = now;
    }

    fn add(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(MAX_CREDIT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BudgetExceeded, FrameBudget, MAX_FRAMES};
    use crate::transport::http2_frames::{DATA, END_STREAM, FrameHead, HEADERS};

    const PING: FrameHead = frame(6, 8);

    const fn frame(kind: u8, length: usize) -> FrameHead {
        FrameHead {
            length,
            kind,
            flags: 0,
        }
    }

    /// The number of frames until the budget is used up; at most 10,000.
    fn spend(budget: &mut FrameBudget, head: FrameHead, now: Instant) -> u32 {
        let frames = (0..10_000).take_while(|_| budget.receive(head, || now).is_ok());
        u32::try_from(frames.count()).unwrap()
    }

    #[test]
    fn frames_beyond_the_budget_are_refused_until_time_has_passed() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);

        assert_eq!(spend(&mut budget, PING, now), MAX_FRAMES);
        assert_eq!(budget.receive(PING, || now), Err(BudgetExceeded));
        let later = now + Duration::from_secs(3);
        assert_eq!(spend(&mut budget, PING, later), 300);
        let much_later = now + Duration::from_hours(1);
        assert_eq!(spend(&mut budget, PING, much_later), MAX_FRAMES);
    }

    #[test]
    fn requests_and_empty_data_are_charged_and_data_is_not() {
        let now = Instant::now();
        let last = FrameHead {
            flags: END_STREAM,
            ..frame(DATA, 0)
        };
        for (head, frames) in [
            (frame(HEADERS, 100), MAX_FRAMES),
            (frame(DATA, 0), MAX_FRAMES),
            (frame(0xff, 100), MAX_FRAMES),
            (frame(DATA, 1), 10_000),
            (last, 10_000),
        ] {
            let mut budget = FrameBudget::new(now);
            assert_eq!(spend(&mut budget, head, now), frames, "{head:?}");
        }
    }

    #[test]
    fn a_call_earns_more_than_its_frames_cost() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        for _ in 0..100_000 {
            for head in [frame(HEADERS, 100), PING, PING, frame(8, 4), frame(8, 4)] {
                budget.receive(head, || now).unwrap();
            }
            budget.send(frame(HEADERS, 50));
        }
    }

    #[test]
    fn a_window_of_single_bytes_earns_less_than_it_costs() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        let updates = (0..10_000).take_while(|_| {
            budget.send(frame(DATA, 1));
            budget.receive(frame(8, 4), || now).is_ok()
        });
        assert!(updates.count() < 5_000);
    }
}
