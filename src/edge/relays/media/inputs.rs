use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    idle_inputs::IdleInputs,
    input::{Input, InputSource},
};
use crate::edge::{
    media_meters::MediaMeters,
    relays::{relay_failure::RelayFailure, upstream::Certificates},
};

/// The play sessions of a worker: one for each live stream, whatever the number of relays.
#[derive(Debug)]
pub(crate) struct Inputs {
    inputs: Mutex<Vec<(InputSource, Weak<Input>)>>,
    idle: IdleInputs,
    certificates: Arc<Certificates>,
    meters: MediaMeters,
}

impl Inputs {
    /// The inputs add what they measure to the meters.
    pub(crate) fn new(certificates: Arc<Certificates>, meters: MediaMeters) -> Self {
        Self {
            inputs: Mutex::default(),
            idle: IdleInputs::default(),
            certificates,
            meters,
        }
    }

    /// The play session of a source, which is started if it does not run. It is closed when
    /// the last relay drops it, unless it is kept.
    pub(crate) fn get(&self, source: InputSource) -> Result<Arc<Input>, RelayFailure> {
        let mut inputs = self.inputs.lock();
        inputs.retain(|(_, input)| input.strong_count() > 0);
        let same = inputs.iter().find(|(other, _)| *other == source);
        if let Some(input) = same.and_then(|(_, input)| input.upgrade()) {
            return Ok(input);
        }
        let certificates = Arc::clone(&self.certificates);
        let input = Arc::new(Input::start(&source, certificates, &self.meters)?);
        inputs.push((source, Arc::downgrade(&input)));
        Ok(input)
    }

    /// The play session of the source to which a stream has moved. It is the present one if that
    /// plays the same URL: media servers send the next publisher of a name on it.
    pub(crate) fn follow(
        &self,
        present: &Arc<Input>,
        source: InputSource,
    ) -> Result<Arc<Input>, RelayFailure> {
        let mut inputs = self.inputs.lock();
        let is_present = |input: &Weak<Input>| input.as_ptr() == Arc::as_ptr(present);
        let known = inputs.iter_mut().find(|(_, input)| is_present(input));
        if let Some((known, _)) = known
            && known.url == source.url
        {
            present.measure_for(&source, &self.meters);
            *known = source;
            present.retry();
            return Ok(Arc::clone(present));
        }
        drop(inputs);
        self.get(source)
    }

    /// Keeps a play session open for a relay that will soon need it.
    pub(crate) fn keep(&self, input: Arc<Input>) {
        self.idle.keep(input, Instant::now());
    }

    /// Closes the play sessions that were kept long enough.
    pub(crate) fn close_idle(&self, now: Instant) {
        self.idle.close_overdue(now);
    }
}
