//! Who did what, and what became of tunnels: the last so many of them, for `GET /activity`.
//!
//! What the owner did, what each key did, what agents made of each tunnel, and what time ended are kept apart: nobody who
//! makes noise pushes out what another one did.

use super::Clock;
use adit_errors::RequestId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The most entries that are kept of the owner's, and of what time ended.
const MAX_ENTRIES: usize = 10_000;

/// The most that are kept of one key's, and of what agents made of one tunnel.
const MAX_NOISE: usize = 100;

/// Of how many keys and tunnels; beyond it, who has been quiet for the longest is forgotten.
const MAX_SOURCES: usize = 10_000;

/// The journal, in memory.
pub(super) struct Journal {
    clock: Clock,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// By their moments; as many as `sources` say.
    entries: BTreeMap<u64, Entry>,
    /// The moments of each source, oldest first; at most [`MAX_SOURCES`] of at most their bound.
    sources: BTreeMap<Source, VecDeque<u64>>,
}

/// Whom a line is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Owner,
    Time,
    Key(String),
    Tunnel(String),
}

impl Source {
    const fn max_entries(&self) -> usize {
        match self {
            Self::Owner | Self::Time => MAX_ENTRIES,
            Self::Key(_) | Self::Tunnel(_) => MAX_NOISE,
        }
    }
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
        Self { clock, lines: Mutex::default() }
    }

    /// An agent made something of a tunnel.
    pub(super) fn note(&self, event: &str, tunnel: &str) {
        let source = Source::Tunnel(tunnel.to_owned());
        self.push(source, "gateway", event.to_owned(), Some(tunnel.to_owned()), None);
    }

    /// A tunnel's time was over.
    pub(super) fn note_end(&self, event: &str, tunnel: &str) {
        self.push(Source::Time, "gateway", event.to_owned(), Some(tunnel.to_owned()), None);
    }

    /// A request was carried out.
    pub(super) fn note_request(&self, by: &str, method: &http::Method, path: &str, id: &RequestId) {
        let source = if by == "owner" { Source::Owner } else { Source::Key(by.to_owned()) };
        self.push(source, by, format!("{method} {path}"), None, Some(id.to_string()));
    }

    /// At most `limit` entries after `since`, oldest first.
    pub(super) fn entries(&self, since: u64, limit: usize) -> Vec<Entry> {
        let lines = self.lock();
        let after = lines.entries.range((Bound::Excluded(since), Bound::Unbounded));
        after.take(limit).map(|(_, entry)| entry.clone()).collect()
    }

    fn push(
        &self,
        source: Source,
        by: &str,
        event: String,
        tunnel: Option<String>,
        request_id: Option<String>,
    ) {
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut lines = self.lock();
        let last = lines.entries.last_key_value().map_or(0, |(at, _)| *at);
        let at = u64::try_from(now).unwrap_or(u64::MAX).max(last.saturating_add(1));
        lines.push(source, Entry { at, by: by.to_owned(), event, tunnel, request_id });
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, source: Source, entry: Entry) {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            self.forget_the_quietest();
        }
        let max_entries = source.max_entries();
        let moments = self.sources.entry(source).or_default();
        if moments.len() >= max_entries
            && let Some(oldest) = moments.pop_front()
        {
            self.entries.remove(&oldest);
        }
        moments.push_back(entry.at);
        self.entries.insert(entry.at, entry);
    }

    fn forget_the_quietest(&mut self) {
        let noisy = self.sources.iter().filter(|(source, _)| source.max_entries() == MAX_NOISE);
        let quietest = noisy.min_by_key(|(_, moments)| moments.back().copied());
        let Some(source) = quietest.map(|(source, _)| source.clone()) else { return };
        for at in self.sources.remove(&source).into_iter().flatten() {
            self.entries.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        Journal::new(Clock::new(|| SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn entries_are_bounded_in_order_and_found_by_their_cursor_whatever_the_clock_does() {
        let journal = journal();
        for number in 0..MAX_ENTRIES + 3 {
            journal.note_end("tunnel.expired", &number.to_string());
        }
        let all = journal.entries(0, usize::MAX);
        assert_eq!((all.len(), all[0].tunnel.as_deref()), (MAX_ENTRIES, Some("3")));
        assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at));
        let some = journal.entries(all[4].at, 2);
        assert_eq!(some.iter().map(|entry| entry.at).collect::<Vec<_>>(), [all[5].at, all[6].at]);
        assert!(journal.entries(u64::MAX, 1).is_empty());
    }

    #[test]
    fn a_noisy_agent_or_key_pushes_out_nobody_elses_events() {
        let (journal, method) = (journal(), http::Method::POST);
        let id = RequestId::from_random(1);
        journal.note_request("owner", &method, "/tunnels", &id);
        journal.note("tunnel.connected", "quiet");
        journal.note_request("key 1", &method, "/tokens", &id);
        for _ in 0..2 * MAX_ENTRIES {
            journal.note("tunnel.connected", "noisy");
            journal.note_request("key 2", &method, "/tokens", &id);
        }
        let all = journal.entries(0, usize::MAX);
        let of = |by: &str| all.iter().filter(|entry| entry.by == by).count();
        assert_eq!((of("owner"), of("key 1"), of("key 2")), (1, 1, MAX_NOISE));
        let of = |name: &str| all.iter().filter(|entry| entry.tunnel.as_deref() == Some(name)).count();
        assert_eq!((of("quiet"), of("noisy")), (1, MAX_NOISE));
    }

    #[test]
    fn of_too_many_tunnels_the_quietest_is_forgotten_and_never_the_owner() {
        let journal = journal();
        journal.note_request("owner", &http::Method::POST, "/tunnels", &RequestId::from_random(1));
        for number in 0..MAX_SOURCES {
            journal.note("tunnel.connected", &number.to_string());
        }
        let all = journal.entries(0, usize::MAX);
        assert_eq!(all.len(), MAX_SOURCES);
        assert_eq!((all[0].by.as_str(), all[1].tunnel.as_deref()), ("owner", Some("1")));
    }
}
