//! Whose turn it is to send.

use crate::connection::StreamKey;

/// Who has something to say, as far as can be told from who was woken.
///
/// Messages of many streams belong in one write call: when many are in use the driver sends, once all have had their
/// say. While few are in use nobody has to be waited for: a task sends its answer as it writes it, and what else is due
/// before it waits.
#[derive(Debug)]
pub(super) struct Turns {
    /// Counts the wakes of readers.
    wakes: u32,
    /// How many streams take turns being woken: the mean of how many wakes ago each had its last, in eighths.
    crowd: u32,
    /// The stream whose reader was woken last.
    woken: Option<StreamKey>,
    /// The stream that was woken, took what had come, and has not written since.
    answering: Option<StreamKey>,
    /// Counts what was written.
    said: u32,
    /// `said` when the driver last sent or let others go first, and how many times in a row it did the latter.
    yielded: (u32, u32),
}

/// When the reader of a stream was last woken; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastWake(u32);

impl Turns {
    pub(super) const fn new() -> Self {
        Self { wakes: 0, crowd: 8, woken: None, answering: None, said: 0, yielded: (0, 0) }
    }

    /// As after many streams were woken, which some wakes of few streams make forgotten.
    #[cfg(test)]
    pub(super) const fn in_a_crowd() -> Self {
        Self { crowd: 8 * 12, ..Self::new() }
    }

    /// Takes note that the task that reads a stream is woken.
    pub(super) fn woke(&mut self, key: StreamKey, last: &mut LastWake) {
        const MOST: u32 = 64;
        self.woken = Some(key);
        self.wakes = self.wakes.wrapping_add(1).max(1);
        let ago = self.wakes.wrapping_sub(last.0);
        if last.0 != 0 {
            self.crowd = self.crowd - self.crowd / 8 + ago.min(MOST);
        }
        last.0 = self.wakes;
    }

    /// Takes note that a stream was given what had come.
    ///
    /// Only who was waiting is in a conversation: what a new stream brings along is often answered once, with the end
    /// right behind, and both fit in one call.
    pub(super) fn read(&mut self, key: StreamKey) {
        self.answering = self.woken.filter(|woken| *woken == key);
    }

    /// Takes note that a stream has written something; says whether it is an answer that should go out at once.
    pub(super) fn wrote(&mut self, key: StreamKey) -> bool {
        self.said = self.said.wrapping_add(1);
        self.answering.take_if(|answering| *answering == key).is_some() && self.are_few()
    }

    /// Takes note that a stream has left something to be sent.
    pub(super) const fn wrote_one(&mut self) {
        self.said = self.said.wrapping_add(1);
    }

    /// Whether few streams are in use, so that a task should send what is due before it waits.
    pub(super) const fn are_few(&self) -> bool {
        const FEW: u32 = 4;
        self.crowd <= 8 * FEW
    }

    /// Whether the driver should let others go first if it has something to send: once if many streams are in use; up to
    /// four times while few say more and more, so that small writes leave together.
    pub(super) const fn lets_others_first(&mut self, is_due: bool) -> bool {
        let (said, times) = self.yielded;
        let is_growing = self.said.wrapping_sub(said) > 1;
        // A crowd has other threads, which would stand still while this one gathers.
        let most = if self.are_few() { 4 } else { 1 };
        let waits = is_due && times < most && (is_growing || (times == 0 && !self.are_few()));
        self.yielded = (self.said, if waits { times + 1 } else { 0 });
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(streams: usize, wakes: usize) -> Turns {
        let mut turns = Turns::new();
        let mut last = vec![LastWake::default(); streams];
        (0..wakes).for_each(|wake| turns.woke(key(wake % streams), &mut last[wake % streams]));
        turns
    }

    #[test]
    fn a_crowd_is_told_by_how_streams_take_turns() {
        assert!(after(1, 100).are_few());
        assert!(after(3, 100).are_few());
        assert!(!after(50, 200).are_few());
    }

    #[test]
    fn one_busy_stream_beside_a_thousand_idle_ones_is_no_crowd() {
        let mut turns = after(1000, 5000);
        let mut busy = LastWake::default();
        (0..100).for_each(|_| turns.woke(key(1), &mut busy));
        assert!(turns.are_few());
    }

    #[test]
    fn the_driver_waits_for_a_crowd_once() {
        let mut turns = after(50, 200);
        assert!(turns.lets_others_first(true));
        assert!(!turns.lets_others_first(true), "nobody had more to say");
    }

    #[test]
    fn the_driver_waits_while_more_and_more_is_said_but_not_for_long() {
        let mut turns = Turns::new();
        turns.wrote(key(1));
        assert!(!turns.lets_others_first(true), "one message is not held up");
        let mut waited = 0;
        loop {
            (0..100).for_each(|_| {
                turns.wrote(key(1));
            });
            if !turns.lets_others_first(true) {
                break;
            }
            waited += 1;
        }
        assert_eq!(waited, 4);
    }

    #[test]
    fn an_answer_is_what_follows_a_wait() {
        let mut turns = Turns::new();
        turns.read(key(1));
        assert!(!turns.wrote(key(1)), "it did not wait");
        turns.woke(key(1), &mut LastWake::default());
        turns.read(key(1));
        assert!(turns.wrote(key(1)));
        assert!(!turns.wrote(key(1)), "one answer each");
    }

    fn key(place: usize) -> StreamKey {
        StreamKey::at(place)
    }
}
