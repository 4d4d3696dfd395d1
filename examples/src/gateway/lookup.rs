//! How visitors' tasks look routes up: each thread by a reader of its own.

use super::hub::{Facts, Link};
use adit_router::{Reader, RouteKey, RouteTable, Tunnel};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// Of the gateway that this thread looked in last; all but tests have one. What it keeps of agents that have gone it
    /// keeps until the thread's next visitor.
    static READER: RefCell<Option<(u64, Reader<Link, Facts>)>> = const { RefCell::new(None) };
}

/// Tells the gateways of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The way into one gateway's routes.
#[derive(Debug)]
pub(super) struct Lookup {
    number: u64,
}

impl Lookup {
    pub(super) fn new() -> Self {
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The tunnel that `key` leads to now.
    pub(super) fn find(
        &self,
        routes: &RouteTable<Link, Facts>,
        key: RouteKey<'_>,
    ) -> Option<Arc<Tunnel<Link, Facts>>> {
        READER.with_borrow_mut(|kept| {
            let kept = match kept {
                Some(kept) if kept.0 == self.number => kept,
                other => other.insert((self.number, routes.reader())),
            };
            kept.1.find(key).cloned()
        })
    }
}
