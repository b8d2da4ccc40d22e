use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Numbers of acknowledged writes by RPC.
#[derive(Default)]
pub struct Counts {
    by_rpc: Mutex<BTreeMap<&'static str, Count>>,
    /// The number of calls that kills have interrupted for long.
    starving: AtomicUsize,
}

/// A call that kills have interrupted for long, until dropped.
pub struct Starving<'a>(&'a Counts);

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Relaxed);
    }
}

/// The acknowledged writes of an RPC.
#[derive(Default, Clone, Copy)]
struct Count {
    acknowledged: usize,
    /// Those whose call was repeated, mostly because a kill interrupted it.
    repeated: usize,
}

impl Counts {
    /// Counts an acknowledged write.
    pub fn add(&self, rpc: &'static str, is_repeated: bool) {
        let mut by_rpc = self.lock();
        let count = by_rpc.entry(rpc).or_default();
        count.acknowledged += 1;
        count.repeated += usize::from(is_repeated);
    }

    /// The number of acknowledged writes of all RPCs.
    pub fn total(&self) -> usize {
        self.lock().values().map(|count| count.acknowledged).sum()
    }

    /// The number of acknowledged writes of an RPC.
    pub fn of(&self, rpc: &str) -> usize {
        self.lock().get(rpc).map_or(0, |count| count.acknowledged)
    }

    /// Counts a call that kills have interrupted for long.
    pub fn starve(&self) -> Starving<'_> {
        self.starving.fetch_add(1, Relaxed);
        Starving(self)
    }

    /// Whether kills have interrupted a call for long.
    pub fn is_one_starving(&self) -> bool {
        self.starving.load(Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Count>> {
        self.by_rpc.lock().unwrap()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20}{:>14}{:>10}", "", "acknowledged", "repeated")?;
        for (rpc, count) in &*self.lock() {
            let Count {
                acknowledged,
                repeated,
            } = count;
            writeln!(f, "{rpc:<20}{acknowledged:>14}{repeated:>10}")?;
        }
        Ok(())
    }
}
