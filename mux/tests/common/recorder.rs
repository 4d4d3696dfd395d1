//! An observer that counts.

use adit_mux::{Abuse, Observer, Origin, SessionEnd};
use adit_wire_proto::CloseCode;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// Counts everything, by a name as a metrics recorder would.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<BTreeMap<String, u64>>);

impl Recorder {
    fn add(&self, name: String, number: u64) {
        *self.0.lock().unwrap().entry(name).or_default() += number;
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Of all names that begin so.
    pub(crate) fn sum(&self, start: &str) -> u64 {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.starts_with(start))
            .map(|(_, count)| count)
            .sum()
    }
}

impl Observer for Recorder {
    fn connected(&self) {
        self.add("connected".into(), 1);
    }

    fn stream_opened(&self, by: Origin) {
        self.add(format!("opened by {by:?}"), 1);
    }

    fn stream_closed(&self, by: Origin) {
        self.add(format!("closed, opened by {by:?}"), 1);
    }

    fn stream_refused(&self, by: Origin, code: CloseCode) {
        self.add(format!("refused by {by:?} {code}"), 1);
    }

    fn reset(&self, by: Origin, code: CloseCode) {
        self.add(format!("reset by {by:?} {code}"), 1);
    }

    fn stopped(&self, by: Origin, code: CloseCode) {
        self.add(format!("stopped by {by:?} {code}"), 1);
    }

    fn budget_spent(&self, what: Abuse) {
        self.add(format!("budget {what:?}"), 1);
    }

    fn received(&self, bytes: u64) {
        self.add("received".into(), bytes);
        self.add("reads".into(), 1);
    }

    fn sent(&self, bytes: u64) {
        self.add("sent".into(), bytes);
    }

    fn round_trip(&self, _: Duration) {
        self.add("round trips".into(), 1);
    }

    fn draining(&self, by: Origin, code: CloseCode) {
        self.add(format!("draining by {by:?} {code}"), 1);
    }

    fn ended(&self, end: &SessionEnd) {
        self.add(format!("ended {}", end.close_code()), 1);
    }
}
