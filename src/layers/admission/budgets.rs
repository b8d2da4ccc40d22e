use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    budget::{Budget, Exceeded, Shares},
    holder::{Holder, Keys},
};
use crate::{
    error::{Error, Result},
    random::random_fraction,
    telemetry::{Throttle, metrics::SERVER},
};

/// The number of incomplete requests for each concurrent call, and their least number.
const INCOMPLETE_PER_CALL: usize = 4;
const MIN_INCOMPLETE: usize = 128;

/// The open streams of one connection that have no caller: health checks and reflection.
const CONNECTION_STREAMS: usize = 16;

/// An address has an eighth of the incomplete requests and of the streams without a caller;
/// a connection has a quarter of its address's incomplete requests.
const ADDRESS_FRACTION: usize = 8;
const CONNECTION_FRACTION: usize = 4;
const MIN_SHARE: usize = 16;

/// An address and a caller have a quarter of the calls.
const CALLS_FRACTION: usize = 4;

/// An address and a caller have a quarter of the memory, a connection an eighth.
const MEMORY_FRACTION: usize = 4;
const CONNECTION_MEMORY_FRACTION: usize = 8;

/// A new call leaves an eighth of each share of the memory to the responses of those that run.
/// Otherwise calls would run although there is no room for their responses.
const MEMORY_HEADROOM_FRACTION: usize = 8;

/// The shortest retry delay of refused callers, and what is added at random, so that they
/// do not all come back at once.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_JITTER: Duration = Duration::from_secs(1);

/// The least time between two log lines about refused calls.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// An incomplete request that ends after this time counts as a violation.
const MIN_VIOLATION_AGE: Duration = Duration::from_secs(2);

/// The totals from which all budgets follow.
#[derive(Debug, Clone, Copy)]
pub struct BudgetLimits {
    /// Concurrent calls; at least 1.
    pub calls: usize,
    /// Bytes of requests and of unwritten responses.
    pub memory: usize,
}

/// The budgets of everything that peers make the server hold. A clone shares them.
///
/// - **Calls** with a complete request and without a response.
/// - **Incomplete requests**: headers whose message has not arrived. Most requests arrive at
///   once, and never count.
/// - **Streams without a caller**: open health watches and reflection.
/// - **Memory**: 4 KiB for each call, or the size of its request or its response if that is
///   larger, until the response is written; and large messages of streams.
#[derive(Debug, Clone)]
pub struct Budgets(Arc<State>);

#[derive(Debug)]
struct State {
    calls: Budget,
    incomplete: Budget,
    streams: Budget,
    memory: Budget,
}

/// A budget with shares.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource {
    Calls,
    Incomplete,
    Streams,
    Memory,
}

impl Budgets {
    /// Unused budgets.
    pub fn new(limits: BudgetLimits) -> Self {
        let share = |total: usize, fraction: usize| (total / fraction).max(MIN_SHARE).min(total);
        let calls = Shares {
            total: limits.calls,
            connection: limits.calls,
            address: share(limits.calls, CALLS_FRACTION),
            caller: share(limits.calls, CALLS_FRACTION),
            headroom_fraction: 0,
        };
        let incomplete = (INCOMPLETE_PER_CALL * limits.calls).max(MIN_INCOMPLETE);
        let incomplete_of_address = share(incomplete, ADDRESS_FRACTION);
        let incomplete = Shares {
            total: incomplete,
            connection: share(incomplete_of_address, CONNECTION_FRACTION),
            address: incomplete_of_address,
            caller: incomplete_of_address,
            headroom_fraction: 0,
        };
        let streams = limits.calls.max(MIN_INCOMPLETE);
        let streams = Shares {
            total: streams,
            connection: CONNECTION_STREAMS,
            address: share(streams, ADDRESS_FRACTION),
            caller: streams,
            headroom_fraction: 0,
        };
        let memory = Shares {
            total: limits.memory,
            connection: limits.memory / CONNECTION_MEMORY_FRACTION,
            address: limits.memory / MEMORY_FRACTION,
            caller: limits.memory / MEMORY_FRACTION,
            headroom_fraction: MEMORY_HEADROOM_FRACTION,
        };
        let server = &*SERVER;
        let resources = [
            Resource::Calls,
            Resource::Incomplete,
            Resource::Streams,
            Resource::Memory,
        ];
        server.register_limits(&resources.map(Resource::name));
        Self(Arc::new(State {
            calls: Budget::new(calls, &server.calls, &server.calls_limit),
            incomplete: Budget::new(incomplete, &server.incomplete, &server.incomplete_limit),
            streams: Budget::new(streams, &server.open_streams, &server.open_streams_limit),
            memory: Budget::new(memory, &server.memory_held, &server.memory_held_limit),
        }))
    }

    /// Fails if no call of this holder could run now.
    pub(super) fn check_calls(&self, holder: &Holder) -> Result<()> {
        match self.0.calls.has_room(holder.is_machine()) {
            true => Ok(()),
            false => Err(refused(Resource::Calls.name(), Exceeded::TOTAL)),
        }
    }

    /// Counts a request as incomplete.
    pub(super) fn begin_request(&self, holder: &Holder) -> Result<IncompleteRequest> {
        let share = self.take(Resource::Incomplete, holder, 1)?;
        Ok(IncompleteRequest::new(share, holder))
    }

    /// The same for a call that is refused already: `None` beyond the limits. That counts as
    /// a violation, unless the call was refused because of a limit, which may have counted.
    pub(super) fn begin_drain(&self, holder: &Holder, is_shed: bool) -> Option<IncompleteRequest> {
        match self.try_take(Resource::Incomplete, holder, 1) {
            Ok(share) => Some(IncompleteRequest::new(share, holder)),
            Err(limit) => {
                if !is_shed {
                    record_violation(Resource::Incomplete, limit, holder);
                }
                None
            }
        }
    }

    /// Takes an amount of a resource.
    pub(super) fn take(&self, resource: Resource, holder: &Holder, amount: usize) -> Result<Share> {
        let share = self.try_take(resource, holder, amount);
        share.map_err(|limit| exceeded(resource, limit, holder))
    }

    /// Takes memory for a response of a call that runs, which may use the headroom.
    pub(super) fn take_for_response(&self, holder: &Holder, amount: usize) -> Result<Share> {
        let (resource, keys) = (Resource::Memory, holder.keys());
        let added = self
            .0
            .budget(resource)
            .add(&keys, holder.is_machine(), amount);
        added.map_err(|limit| exceeded(resource, limit, holder))?;
        Ok(Share {
            budgets: self.clone(),
            resource,
            keys,
            is_machine: holder.is_machine(),
            amount,
        })
    }

    fn try_take(
        &self,
        resource: Resource,
        holder: &Holder,
        amount: usize,
    ) -> Result<Share, Exceeded> {
        let keys = self.0.budget(resource).take(holder, amount)?;
        Ok(Share {
            budgets: self.clone(),
            resource,
            keys,
            is_machine: holder.is_machine(),
            amount,
        })
    }
}

/// Refuses a call, which may be a violation of its connection.
fn exceeded(resource: Resource, exceeded: Exceeded, holder: &Holder) -> Error {
    record_violation(resource, exceeded, holder);
    refused(resource.name(), exceeded)
}

fn record_violation(resource: Resource, exceeded: Exceeded, holder: &Holder) {
    // An address with many honest callers may use up its calls and its memory.
    let is_of_callers = matches!(resource, Resource::Calls | Resource::Memory);
    if exceeded.0 == "connection" || exceeded.0 == "address" && !is_of_callers {
        holder.record_violation();
    }
}

/// Counts a refusal, and logs it together with others.
fn refused(limit: &'static str, exceeded: Exceeded) -> Error {
    static THROTTLE: Mutex<Throttle> = Mutex::new(Throttle::new(LOG_INTERVAL));

    let Exceeded(of) = exceeded;
    SERVER.call_refused(limit, of);
    let refused = THROTTLE.lock().record();
    if let Some(refused) = refused {
        // Outside of the span of this call, because the line is about many calls.
        tracing::warn!(parent: None, refused, limit, of, "calls are refused: a limit is reached");
    }
    Error::Overloaded(MIN_RETRY_DELAY + RETRY_JITTER.mul_f64(random_fraction()))
}

impl State {
    fn budget(&self, resource: Resource) -> &Budget {
        match resource {
            Resource::Calls => &self.calls,
            Resource::Incomplete => &self.incomplete,
            Resource::Streams => &self.streams,
            Resource::Memory => &self.memory,
        }
    }
}

impl Resource {
    /// The name in metrics and in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Incomplete => "incomplete_requests",
            Self::Streams => "streams",
            Self::Memory => "memory",
        }
    }
}

/// An amount of a resource, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budgets: Budgets,
    resource: Resource,
    keys: Keys,
    is_machine: bool,
    amount: usize,
}

impl Share {
    /// Changes the amount; fails, and keeps it, if a limit would be exceeded.
    pub fn resize(&mut self, holder: &Holder, amount: usize) -> Result<()> {
        let budget = self.budgets.0.budget(self.resource);
        if let Some(more) = amount.checked_sub(self.amount) {
            budget
                .add(&self.keys, self.is_machine, more)
                .map_err(|limit| exceeded(self.resource, limit, holder))?;
        } else {
            budget.release(&self.keys, self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }

    /// The amount.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let budget = self.budgets.0.budget(self.resource);
        budget.release(&self.keys, self.amount);
    }
}

/// A request that is being received. If it ends incomplete after two seconds or more, that
/// counts as a violation of its connection.
#[derive(Debug)]
pub(super) struct IncompleteRequest {
    _share: Share,
    holder: Holder,
    begun_at: Instant,
    is_complete: bool,
}

impl IncompleteRequest {
    fn new(share: Share, holder: &Holder) -> Self {
        Self {
            _share: share,
            holder: holder.clone(),
            begun_at: Instant::now(),
            is_complete: false,
        }
    }

    /// Ends without a violation.
    pub fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for IncompleteRequest {
    fn drop(&mut self) {
        if !self.is_complete && self.begun_at.elapsed() >= MIN_VIOLATION_AGE {
            self.holder.record_violation();
        }
    }
}
