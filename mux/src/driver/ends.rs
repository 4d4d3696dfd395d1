//! Readers that can do no more than go.

use std::task::Waker;
use std::time::{Duration, Instant};

/// Readers whose streams are over in both directions, with nothing left to read: they will let go of the stream.
///
/// Nobody waits for that, but a second task that is woken in one turn makes a runtime wake a second thread, which then
/// fetches from the first one's cache all that a short stream and the next one share. So while few streams are in use
/// such readers are woken by themselves: together, when there are many, or a moment later.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Of the events that are being looked at.
    new: Vec<Waker>,
    /// At most [`MOST_HELD`].
    held: Vec<Waker>,
    /// When the first of `held` has waited long enough.
    until: Option<Instant>,
}

impl Ends {
    /// Takes note of a reader whose stream is over.
    pub(super) fn came(&mut self, reader: Waker) {
        self.new.push(reader);
    }

    /// Lets the new ones go at once.
    pub(super) fn take_new(&mut self, wakes: &mut Vec<Waker>) {
        wakes.append(&mut self.new);
    }

    /// Lets all go, also those that were held.
    pub(super) fn take_all(&mut self, wakes: &mut Vec<Waker>) {
        wakes.append(&mut self.held);
        wakes.append(&mut self.new);
        self.until = None;
    }

    /// Holds the new ones if few streams are in use and others are woken now, and if they are not too many.
    pub(super) fn hold(&mut self, now: Instant, are_few: bool, wakes: &mut Vec<Waker>) {
        if self.new.is_empty() {
            return;
        }
        if !are_few || wakes.is_empty() || self.held.len() + self.new.len() > MOST_HELD {
            return self.take_all(wakes);
        }
        self.held.append(&mut self.new);
        self.until.get_or_insert(now + HELD_FOR);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        if self.until.is_some_and(|until| until <= now) {
            self.take_all(wakes);
        }
    }
}

/// How long the end of a stream that is over anyway may wait for others.
const HELD_FOR: Duration = Duration::from_millis(1);
/// How many readers wait at most. None where models run: time stands still there.
const MOST_HELD: usize = if cfg!(test) { 0 } else { 16 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_held_is_woken_in_time() {
        let (now, mut wakes) = (origin(), Vec::new());
        let mut ends =
            Ends { held: vec![Waker::noop().clone()], until: Some(now + HELD_FOR), ..Ends::default() };
        assert_eq!(ends.deadline(), Some(now + HELD_FOR));
        ends.handle_timeout(now, &mut wakes);
        assert!(wakes.is_empty());
        ends.handle_timeout(now + HELD_FOR, &mut wakes);
        assert_eq!((wakes.len(), ends.deadline()), (1, None));
    }

    #[test]
    fn whoever_is_alone_or_one_of_many_is_not_held() {
        let (now, mut wakes) = (origin(), Vec::new());
        let mut ends = Ends::default();
        ends.came(Waker::noop().clone());
        ends.hold(now, true, &mut wakes);
        assert_eq!((wakes.len(), ends.deadline()), (1, None), "nobody else is woken");
        ends.came(Waker::noop().clone());
        ends.hold(now, false, &mut wakes);
        assert_eq!((wakes.len(), ends.deadline()), (2, None), "many streams are in use");
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn origin() -> Instant {
        Instant::now()
    }
}
