use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::input::{Input, InputSource};
use crate::edge::{
    media_meters::MediaMeters,
    relays::{relay_failure::RelayFailure, upstream::Certificates},
};

/// The play sessions of a worker: one for each live stream, whatever the number of relays.
#[derive(Debug)]
pub(crate) struct Inputs {
    inputs: Mutex<Vec<(InputSource, Weak<Input>)>>,
    certificates: Arc<Certificates>,
    meters: MediaMeters,
}

impl Inputs {
    /// The inputs add what they measure to the meters.
    pub(crate) fn new(certificates: Arc<Certificates>, meters: MediaMeters) -> Self {
        Self {
            inputs: Mutex::default(),
            certificates,
            meters,
        }
    }

    /// The play session of a source, which is started if it does not run. It is closed when
    /// the last relay drops it.
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
}
