//! Datagrams of one flow that wait to be taken.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A queue that never grows past its bound: then the oldest goes, as the youngest is worth most.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// At most `max_bytes` of [`Inbox::push`], each message counted with [`OVERHEAD`].
    queue: VecDeque<Bytes>,
    bytes: usize,
    reader: Option<Waker>,
}

/// What an empty message costs, so that a flood of them is bounded too.
const OVERHEAD: usize = 64;

impl Inbox {
    /// Adds a message. `false` if one had to go for it.
    pub(super) fn push(&self, payload: Bytes, max_bytes: usize) -> bool {
        let cost = payload.len().saturating_add(OVERHEAD);
        if cost > max_bytes {
            return false;
        }
        let mut waiting = self.waiting();
        let mut has_room = true;
        while waiting.bytes.saturating_add(cost) > max_bytes && waiting.pop().is_some() {
            has_room = false;
        }
        waiting.bytes += cost;
        waiting.queue.push_back(payload);
        let reader = waiting.reader.take();
        drop(waiting);
        reader.into_iter().for_each(Waker::wake);
        has_room
    }

    /// The oldest message; whoever finds none is woken by the next.
    pub(super) fn poll_pop(&self, task: &Context<'_>) -> Poll<Bytes> {
        let mut waiting = self.waiting();
        match waiting.pop() {
            Some(payload) => Poll::Ready(payload),
            None => {
                waiting.reader = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Bytes> {
        let payload = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(payload.len().saturating_add(OVERHEAD));
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_loses_the_oldest_and_says_so() {
        let inbox = Inbox::default();
        let room = 3 * (OVERHEAD + 1);
        for octet in *b"abc" {
            assert!(inbox.push(Bytes::copy_from_slice(&[octet]), room));
        }
        assert!(!inbox.push(Bytes::from_static(b"d"), room));
        assert!(!inbox.push(Bytes::from(vec![0; room]), room), "longer than the whole inbox");
        assert_eq!(all(&inbox), ["b", "c", "d"]);
        for _ in 0..1000 {
            inbox.push(Bytes::new(), room);
        }
        assert_eq!(all(&inbox).len(), 3, "empty messages cost something too");
    }

    fn all(inbox: &Inbox) -> Vec<String> {
        let task = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match inbox.poll_pop(&task) {
            Poll::Ready(payload) => Some(String::from_utf8(payload.to_vec()).unwrap()),
            Poll::Pending => None,
        })
        .collect()
    }
}
