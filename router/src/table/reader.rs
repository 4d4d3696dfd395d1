//! A thread's own way into the table, for those who look up often.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::{RouteKey, Routes, Tunnel};
use crate::sync::{Cached, Swap};

/// Lookups in a [`RouteTable`](super::RouteTable) that write nothing to memory, not even a count of references.
///
/// A reader keeps the state that it saw last and asks each time whether it is still the newest, which costs one load where
/// [`RouteTable::find`](super::RouteTable::find) has to say that it is reading. What it keeps lives on until its next lookup, with the handles of
/// agents that have gone: so have one for each thread that works, not one for each connection, and call
/// [`refresh`](Self::refresh) where a thread may be idle for long.
///
/// ```
/// # use adit_naming::TunnelNameRef;
/// # use adit_router::{RouteKey, RouteTable, TunnelId};
/// let table = RouteTable::<&str>::new();
/// let mut reader = table.reader();
/// let key = RouteKey::name(TunnelNameRef::parse("my-app").unwrap());
/// assert!(reader.find(key).is_none());
/// table.publish(TunnelId::from_u128(1), [key.into_owned()], ()).unwrap();
/// assert_eq!(reader.find(key).unwrap().id(), TunnelId::from_u128(1));
/// ```
pub struct Reader<T, P = (), S = RandomState> {
    state: Cached<Routes<T, P, S>>,
}

impl<T, P, S: BuildHasher> Reader<T, P, S> {
    pub(super) fn new(current: Arc<Swap<Routes<T, P, S>>>) -> Self {
        Self { state: Cached::new(current) }
    }

    /// The tunnel that `key` leads to now.
    #[inline]
    pub fn find(&mut self, key: RouteKey<'_>) -> Option<&Arc<Tunnel<T, P>>> {
        self.routes().find(key)
    }

    /// The whole state as it is now, for several lookups that must agree.
    #[inline]
    pub fn routes(&mut self) -> &Routes<T, P, S> {
        self.state.load()
    }

    /// Lets go of an older state, as each lookup does.
    pub fn refresh(&mut self) {
        self.state.load();
    }
}

impl<T, P, S> Clone for Reader<T, P, S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<T, P, S> fmt::Debug for Reader<T, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
