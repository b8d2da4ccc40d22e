//! Random steps, and how the model and the system take them side by side.

use proptest::prelude::*;

use super::{
    messages::{Answer, Connection, Grant, Report, Seconds},
    reference::Model,
    system::System,
};

/// An operation. There are two nodes with two actors each.
#[derive(Debug, Clone)]
pub enum Step {
    /// A new connection begins a publish.
    Begin {
        actor: usize,
        old_key: bool,
        media: bool,
    },
    /// An earlier begin is repeated; 0 is the last one.
    Repeat {
        back: usize,
    },
    /// A heartbeat of an earlier grant; 0 is the last one.
    Heartbeat {
        back: usize,
        media: bool,
    },
    /// The end of an earlier grant.
    End {
        back: usize,
    },
    Stop {
        hold: Seconds,
    },
    Rotate {
        grace: Seconds,
    },
    Disable {
        disabled: bool,
    },
    /// The media server restarts.
    Reboot {
        node: u8,
    },
    /// A media server reports some of the connections that ever began a publish, with or without
    /// their stream (`named`) and key (`keyed`). A `late` report is of the previous boot.
    Sync {
        node: u8,
        connected: Vec<usize>,
        named: bool,
        keyed: bool,
        late: bool,
    },
    Pass {
        seconds: Seconds,
    },
    Reap,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly the last one, sometimes a much earlier one.
    let back = || prop_oneof![4 => Just(0_usize), 2 => 0..3_usize, 1 => 0..20_usize];
    let step = prop_oneof![
        6 => (0..4_usize, prop::bool::weighted(0.15), any::<bool>())
            .prop_map(|(actor, old_key, media)| Step::Begin { actor, old_key, media }),
        2 => back().prop_map(|back| Step::Repeat { back }),
        6 => (back(), prop::bool::weighted(0.8))
            .prop_map(|(back, media)| Step::Heartbeat { back, media }),
        3 => back().prop_map(|back| Step::End { back }),
        1 => prop_oneof![Just(0), Just(40)].prop_map(|hold| Step::Stop { hold }),
        1 => prop_oneof![Just(0), Just(25)].prop_map(|grace| Step::Rotate { grace }),
        1 => prop::bool::weighted(0.3).prop_map(|disabled| Step::Disable { disabled }),
        1 => (0..2_u8).prop_map(|node| Step::Reboot { node }),
        6 => (
            0..2_u8,
            prop::collection::vec(0..3_usize, 0..3),
            any::<bool>(),
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(node, connected, named, keyed, late)| Step::Sync {
                node, connected, named, keyed, late,
            }),
        4 => (1..45_i64).prop_map(|seconds| Step::Pass { seconds }),
        3 => Just(Step::Reap),
    ];
    prop::collection::vec(step, 1..40)
}

/// A begin that can be repeated.
#[derive(Clone, Copy)]
struct BeginAttempt {
    connection: Connection,
    key: u8,
    media: bool,
}

/// The model and the system, and the state of the media servers.
pub struct Run<'a> {
    pub model: Model,
    pub system: System<'a>,
    pub now: Seconds,
    boots: [u8; 2],
    connections: u8,
    attempts: Vec<BeginAttempt>,
    grants: Vec<Grant>,
}

impl<'a> Run<'a> {
    pub fn new(model: Model, system: System<'a>) -> Self {
        Self {
            model,
            system,
            now: 0,
            boots: [0; 2],
            connections: 0,
            attempts: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Applies a step to both; their responses and states must be equal.
    pub async fn apply(&mut self, step: &Step) {
        let stale = self.is_stale(step);
        let before = self.system.state().await;
        match *step {
            Step::Begin {
                actor,
                old_key,
                media,
            } => {
                self.connections += 1;
                let node = u8::from(actor >= 2);
                let connection = Connection {
                    node,
                    boot: self.boots[usize::from(node)],
                    number: self.connections,
                };
                let key = self.model.key.saturating_sub(u8::from(old_key));
                self.begin(BeginAttempt {
                    connection,
                    key,
                    media,
                })
                .await;
            }
            Step::Repeat { back } => {
                if let Some(attempt) = from_end(&self.attempts, back) {
                    self.begin(attempt).await;
                }
            }
            Step::Heartbeat { back, media } => {
                if let Some(grant) = from_end(&self.grants, back) {
                    let expected = self.model.heartbeat(grant, media, self.now);
                    let answer = self.system.heartbeat(grant, media, self.now).await;
                    assert_eq!(answer, expected);
                }
            }
            Step::End { back } => {
                if let Some(grant) = from_end(&self.grants, back) {
                    let expected = self.model.end(grant, self.now);
                    assert_eq!(self.system.end(grant, self.now).await, expected);
                }
            }
            Step::Stop { hold } if !self.model.streams.is_empty() => {
                self.model.stop(hold, self.now);
                self.system.stop(hold, self.now).await;
            }
            Step::Stop { .. } => {}
            Step::Rotate { grace } => {
                self.model.rotate(grace, self.now);
                self.system.rotate(self.model.key, grace, self.now).await;
            }
            Step::Disable { disabled } => {
                self.model.disable(disabled, self.now);
                self.system.disable(disabled, self.now).await;
            }
            Step::Reboot { node } => self.boots[usize::from(node)] += 1,
            Step::Sync {
                node,
                ref connected,
                named,
                keyed,
                late,
            } => {
                let boot = self.boots[usize::from(node)].saturating_sub(u8::from(late));
                let reports = self.reports(node, boot, connected, named, keyed);
                let expected = self.model.sync(node, boot, &reports, self.now);
                let synced = self.system.sync(node, boot, &reports, self.now).await;
                assert_eq!(synced, expected);
                self.grants.extend(synced.adoptions);
            }
            Step::Pass { seconds } => self.now += seconds,
            Step::Reap => {
                self.model.reap(self.now);
                self.system.reap(self.now).await;
            }
        }

        let after = self.system.state().await;
        assert_eq!(after, (self.model.revision, self.model.streams.clone()));
        if stale {
            assert_eq!(after, before, "a report of the past changes nothing");
        }
    }

    /// Whether a step is a report of a superseded connection or epoch.
    fn is_stale(&self, step: &Step) -> bool {
        let (Step::Heartbeat { back, .. } | Step::End { back }) = step else {
            return false;
        };
        from_end(&self.grants, *back).is_some_and(|grant| !self.model.holds(grant))
    }

    /// Reports of connections of a boot, each once.
    fn reports(
        &self,
        node: u8,
        boot: u8,
        connected: &[usize],
        named: bool,
        keyed: bool,
    ) -> Vec<Report> {
        let of_boot =
            |one: &&BeginAttempt| one.connection.node == node && one.connection.boot == boot;
        let asked: Vec<_> = self.attempts.iter().filter(of_boot).copied().collect();
        let mut reports: Vec<Report> = Vec::new();
        for back in connected {
            let Some(attempt) = from_end(&asked, *back) else {
                continue;
            };
            if reports
                .iter()
                .any(|report| report.connection == attempt.connection)
            {
                continue;
            }
            let grants = self.grants.iter().rev();
            let last = grants
                .copied()
                .find(|grant| grant.connection == attempt.connection);
            reports.push(Report {
                connection: attempt.connection,
                key: keyed.then_some(attempt.key),
                named: last.filter(|_| named),
            });
        }
        reports
    }

    async fn begin(&mut self, attempt: BeginAttempt) {
        let BeginAttempt {
            connection,
            key,
            media,
        } = attempt;
        let expected = self.model.begin(connection, key, media, false, self.now);
        let answer = self.system.begin(connection, key, media, self.now).await;
        assert_eq!(answer, expected);
        self.attempts.push(attempt);
        if let Answer::Begun(grant) = answer {
            self.grants.push(grant);
        }
    }
}

fn from_end<T: Copy>(list: &[T], back: usize) -> Option<T> {
    list.iter().rev().nth(back).copied()
}
