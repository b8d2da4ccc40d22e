//! Starting, failing and stopping.
