//! Who did what, and what became of tunnels: the last so many of them, for `GET /activity`.

use super::Clock;
use adit_errors::RequestId;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The most entries that are kept.
const MAX_ENTRIES: usize = 10_000;

/// The journal, in memory.
pub(super) struct Journal {
    clock: Clock,
    /// Oldest first; at most [`MAX_ENTRIES`].
    entries: Mutex<VecDeque<Entry>>,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Milliseconds since 1970, and no two alike: the cursor.
    at: u64,
    /// `owner`, `key` and its id, or `gateway` for what nobody asked for.
    by: String,
    /// `tunnel.connected`, or the request that was carried out, as `POST /tunnels/my-app/pause`.
    event: String,
    /// The tunnel, where the event doesn't say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Journal {
    /// An empty one.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    /// Something happened to a tunnel.
    pub(super) fn note(&self, event: &str, tunnel: &str) {
        self.push("gateway", event.to_owned(), Some(tunnel.to_owned()), None);
    }

    /// A request was carried out.
    pub(super) fn note_request(&self, by: &str, method: &http::Method, path: &str, id: &RequestId) {
        self.push(by, format!("{method} {path}"), None, Some(id.to_string()));
    }

    /// At most `limit` entries after `since`, oldest first.
    pub(super) fn entries(&self, since: u64, limit: usize) -> Vec<Entry> {
        let entries = self.lock();
        let start = entries.partition_point(|entry| entry.at <= since);
        entries.iter().skip(start).take(limit).cloned().collect()
    }

    fn push(&self, by: &str, event: String, tunnel: Option<String>, request_id: Option<String>) {
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut entries = self.lock();
        let last = entries.back().map_or(0, |entry| entry.at);
        let at = u64::try_from(now).unwrap_or(u64::MAX).max(last.saturating_add(1));
        if entries.len() >= MAX_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(Entry { at, by: by.to_owned(), event, tunnel, request_id });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bounded_in_order_and_found_by_their_cursor_whatever_the_clock_does() {
        let journal = Journal::new(Clock::new(|| SystemTime::UNIX_EPOCH));
        for number in 0..MAX_ENTRIES + 3 {
            journal.note("tunnel.connected", &number.to_string());
        }
        let all = journal.entries(0, usize::MAX);
        assert_eq!((all.len(), all[0].tunnel.as_deref()), (MAX_ENTRIES, Some("3")));
        assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at));
        let some = journal.entries(all[4].at, 2);
        assert_eq!(some.iter().map(|entry| entry.at).collect::<Vec<_>>(), [all[5].at, all[6].at]);
        assert!(journal.entries(u64::MAX, 1).is_empty());
    }
}
