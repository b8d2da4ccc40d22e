use proptest::{collection::vec, prelude::*};

use super::{
    simulation::{SECOND, Simulation, adoption, kick, name},
    sync_report::SyncReport,
};
use crate::proto::v1::{EndReason, SyncNodeResponse};

/// Events in any order; numbers are connections.
#[derive(Debug, Clone)]
enum Event {
    Begin(u8),
    Accept(u8),
    Refuse(u8),
    Update(u8),
    End(u8),
    Observe(Vec<u8>),
    Boot,
    Send,
    Kick(u8),
    Adopt(u8),
    Pass(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let of = |event: fn(u8) -> Event| (0..4_u8).prop_map(event);
    prop_oneof![
        of(Event::Begin),
        of(Event::Accept),
        of(Event::Refuse),
        of(Event::Update),
        of(Event::End),
        vec(0..4_u8, 0..4).prop_map(Event::Observe),
        Just(Event::Boot),
        Just(Event::Send),
        of(Event::Kick),
        of(Event::Adopt),
        (0..8_u8).prop_map(Event::Pass),
    ]
}

impl Simulation {
    fn play(&mut self, event: Event, boot: &mut u32, report: &mut Option<SyncReport>) {
        let id = |number: u8| number.to_string();
        match event {
            Event::Begin(number) => drop(self.begin(&id(number))),
            Event::Accept(number) => drop(self.answer_begin(&id(number), 1)),
            Event::Refuse(number) => self.registry.refuse(&name(&id(number)), self.now),
            Event::Update(number) => drop(self.update(&id(number))),
            Event::End(number) => drop(self.end(&id(number))),
            Event::Observe(seen) => {
                let seen: Vec<_> = seen.into_iter().map(id).collect();
                let seen: Vec<_> = seen.iter().map(|id| &**id).collect();
                self.observe(&format!("b{boot}"), &seen);
            }
            Event::Boot => *boot += 1,
            Event::Send => *report = Some(self.report()),
            Event::Kick(number) => {
                self.answer_once(report, kick(&id(number), EndReason::KeyRotated))
            }
            Event::Adopt(number) => self.answer_once(report, adoption(&id(number), 2)),
            Event::Pass(seconds) => self.now += SECOND * u32::from(seconds),
        }
    }

    /// Answers the last report, unless it was answered before.
    fn answer_once(&mut self, report: &mut Option<SyncReport>, answer: SyncNodeResponse) {
        if let Some(report) = report.take() {
            self.answer(&report, answer);
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_reports_valid_and_ends_final(
        events in vec(event(), 0..60),
    ) {
        let mut sim = Simulation::new();
        let (mut boot, mut report) = (1, None);
        for event in events {
            let last = event.clone();
            sim.play(event, &mut boot, &mut report);

            let reported = sim.reported();
            for (index, one) in reported.iter().enumerate() {
                prop_assert_eq!(one.stream_id.is_empty(), one.epoch == 0);
                prop_assert!(index == 0 || reported[index - 1].connection_id != one.connection_id);
            }
            for id in sim.to_disconnect() {
                prop_assert!(reported.iter().any(|one| one.connection_id == id.as_str()));
                prop_assert!(sim.registry.accepted_publish(&id).is_none());
            }
            if let Event::End(number) = last {
                let id = number.to_string();
                prop_assert!(reported.iter().all(|one| one.connection_id != id));
            }
        }
    }
}
