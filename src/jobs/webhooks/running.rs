use std::collections::{HashMap, HashSet};

use tokio::task::{Id, JoinError, JoinSet};

use crate::{
    domain::{ProjectId, WebhookId},
    repositories::DueEvents,
    telemetry::metrics::WEBHOOKS,
};

/// The most projects whose events are sent to one webhook at once.
const MAX_PER_WEBHOOK: usize = 4;

/// A project whose events are sent to a webhook.
type Pair = (WebhookId, ProjectId);

/// What this replica sends now. It is limited in total and for each webhook. A failing webhook may
/// take a whole timeout for each attempt, so it has one place only, and all of them together have
/// half of the places.
#[derive(Debug)]
pub(super) struct Running {
    limit: usize,
    /// They return whether there is more to send.
    tasks: JoinSet<bool>,
    pair_of: HashMap<Id, Pair>,
    /// The pairs, and whether the webhook was failing.
    pairs: HashMap<Pair, bool>,
    of_webhook: HashMap<WebhookId, usize>,
    failing: usize,
}

/// The work that was chosen, until it is started.
#[derive(Debug, Default)]
struct Choice {
    /// What to send.
    chosen: Vec<DueEvents>,
    of_webhook: HashMap<WebhookId, usize>,
    failing: usize,
}

impl Running {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            tasks: JoinSet::new(),
            pair_of: HashMap::new(),
            pairs: HashMap::new(),
            of_webhook: HashMap::new(),
            failing: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether nothing more may be started.
    pub fn is_full(&self) -> bool {
        self.pairs.len() >= self.limit
    }

    /// Whether something may be sent to another failing webhook.
    pub fn accepts_failing(&self) -> bool {
        self.failing < self.failing_limit()
    }

    /// The places of failing webhooks: half of all, but one if there is only one.
    fn failing_limit(&self) -> usize {
        (self.limit / 2).max(1)
    }

    /// The webhooks to which nothing more may be sent, whether they are failing or not.
    pub fn busy(&self) -> Vec<WebhookId> {
        let busy = self.of_webhook.iter();
        let busy = busy.filter(|(_, count)| **count >= MAX_PER_WEBHOOK);
        let mut busy: HashSet<_> = busy.map(|(id, _)| *id).collect();
        let failing = self.pairs.iter().filter(|(_, is_failing)| **is_failing);
        busy.extend(failing.map(|((webhook, _), _)| *webhook));
        busy.into_iter().collect()
    }

    /// Chooses what may be started, in its order.
    pub fn choose(&self, due: &[DueEvents]) -> Vec<DueEvents> {
        let mut choice = Choice::default();
        for one in due {
            if self.accepts(one, &choice) {
                *choice.of_webhook.entry(one.webhook_id).or_default() += 1;
                choice.failing += usize::from(one.is_failing);
                choice.chosen.push(*one);
            }
        }
        choice.chosen
    }

    fn accepts(&self, due: &DueEvents, choice: &Choice) -> bool {
        let of_webhook = |counts: &HashMap<WebhookId, usize>| {
            let count = counts.get(&due.webhook_id);
            count.copied().unwrap_or_default()
        };
        let places = match due.is_failing {
            true => 1,
            false => MAX_PER_WEBHOOK,
        };
        !self.pairs.contains_key(&(due.webhook_id, due.project_id))
            && self.pairs.len() + choice.chosen.len() < self.limit
            && of_webhook(&self.of_webhook) + of_webhook(&choice.of_webhook) < places
            && (!due.is_failing || self.failing + choice.failing < self.failing_limit())
    }

    /// Starts to send. The work returns whether there is more.
    pub fn start(&mut self, due: &DueEvents, work: impl Future<Output = bool> + Send + 'static) {
        let pair = (due.webhook_id, due.project_id);
        self.pairs.insert(pair, due.is_failing);
        *self.of_webhook.entry(due.webhook_id).or_default() += 1;
        self.failing += usize::from(due.is_failing);
        WEBHOOKS.in_flight.inc();
        let task = self.tasks.spawn(work);
        self.pair_of.insert(task.id(), pair);
    }

    /// Waits until something was sent; returns its project, if there is more of it to send. Never
    /// returns if nothing is sent.
    pub async fn finished(&mut self) -> Option<ProjectId> {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(finished) => self.finish(finished),
        }
    }

    /// The same, without waiting; `None` if nothing has finished.
    pub fn try_finished(&mut self) -> Option<Option<ProjectId>> {
        let finished = self.tasks.try_join_next_with_id()?;
        Some(self.finish(finished))
    }

    /// Waits until everything was sent.
    pub async fn all_finished(&mut self) {
        while let Some(finished) = self.tasks.join_next_with_id().await {
            self.finish(finished);
        }
    }

    /// Frees the place of a task, also of one that has panicked.
    fn finish(&mut self, finished: Result<(Id, bool), JoinError>) -> Option<ProjectId> {
        let (id, has_more) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                tracing::error!(%error, "sending to a webhook failed");
                (error.id(), false)
            }
        };
        let pair = self.pair_of.remove(&id)?;
        self.remove(pair);
        has_more.then_some(pair.1)
    }

    fn remove(&mut self, pair: Pair) {
        let Some(was_failing) = self.pairs.remove(&pair) else {
            return;
        };
        WEBHOOKS.in_flight.dec();
        self.failing -= usize::from(was_failing);
        let (webhook, _) = pair;
        if let Some(count) = self.of_webhook.get_mut(&webhook) {
            *count -= 1;
            if *count == 0 {
                self.of_webhook.remove(&webhook);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(webhook_id: WebhookId, is_failing: bool) -> DueEvents {
        DueEvents {
            webhook_id,
            project_id: ProjectId::generate(),
            head: 1,
            is_failing,
        }
    }

    async fn start(running: &mut Running, chosen: &[DueEvents]) {
        for one in chosen {
            running.start(one, std::future::pending());
        }
    }

    #[tokio::test]
    async fn a_webhook_has_four_places_and_a_failing_one_has_one() {
        let mut running = Running::new(10);
        let (good, failing) = (WebhookId::generate(), WebhookId::generate());
        let mut all: Vec<_> = (0..6).map(|_| due(good, false)).collect();
        all.extend((0..3).map(|_| due(failing, true)));

        let chosen = running.choose(&all);
        assert_eq!(chosen.len(), 5);
        start(&mut running, &chosen).await;

        assert!(running.choose(&all).is_empty());
        let busy = running.busy();
        assert!(busy.contains(&good) && busy.contains(&failing));
    }

    #[tokio::test]
    async fn failing_webhooks_leave_half_of_the_places_to_others() {
        let mut running = Running::new(8);
        let failing: Vec<_> = (0..20).map(|_| due(WebhookId::generate(), true)).collect();
        let chosen = running.choose(&failing);
        assert_eq!(chosen.len(), 4);
        start(&mut running, &chosen).await;
        assert!(!running.accepts_failing());

        let others: Vec<_> = (0..20).map(|_| due(WebhookId::generate(), false)).collect();
        let chosen = running.choose(&others);
        assert_eq!(chosen.len(), 4);
        start(&mut running, &chosen).await;
        assert!(running.is_full());
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_work_has_ended() {
        let mut running = Running::new(1);
        let one = due(WebhookId::generate(), true);
        running.start(&one, async { true });
        assert!(running.is_full() && running.choose(&[one]).is_empty());

        assert_eq!(running.finished().await, Some(one.project_id));
        assert!(running.is_empty() && running.busy().is_empty());
        assert_eq!(running.choose(&[one]).len(), 1);
    }
}
