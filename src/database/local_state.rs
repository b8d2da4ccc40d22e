//! State of this process that belongs to a database.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;

/// One value of each type, which all users of a database share.
#[derive(Clone, Default)]
pub(super) struct LocalState(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl LocalState {
    /// The value of a type; its default at first.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.0.lock();
        let value = values.entry(TypeId::of::<T>());
        let value = Arc::clone(value.or_insert_with(|| Arc::new(T::default())));
        value.downcast().unwrap_or_default()
    }
}

impl fmt::Debug for LocalState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalState").finish_non_exhaustive()
    }
}
