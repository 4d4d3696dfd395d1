//! Whose turn it is to send.

use crate::connection::StreamKey;

/// Who was woken by what came, and has not spoken yet.
///
/// Messages of many streams belong in one write call, so of those who were woken together the last one sends for all, or
/// the driver does. A stream that is alone has nobody to wait for: it sends its answers as it writes them.
#[derive(Debug)]
pub(super) struct Turns {
    /// Streams that were woken and whose tasks have not come back yet.
    expected: usize,
    /// Counts the batches of wakes, so that old expectations are told from new ones. Starts at 1.
    round: u32,
    /// Whether the last of them came back, and nothing was sent since.
    is_complete: bool,
    /// The stream that was woken last, and how many times before that in a row.
    last: Option<(StreamKey, u32)>,
    /// The stream that took what had come and has not written since.
    answering: Option<StreamKey>,
}

/// In which round a stream was woken and is expected back; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected(u32);

impl Turns {
    pub(super) const fn new() -> Self {
        Self { expected: 0, round: 1, is_complete: false, last: None, answering: None }
    }

    /// Takes note that the task that reads a stream is woken.
    pub(super) fn woke(&mut self, key: StreamKey, expected: &mut Expected) {
        if expected.0 != self.round {
            expected.0 = self.round;
            self.expected += 1;
        }
        self.is_complete = false;
        self.last = match self.last {
            Some((last, times)) if last == key => Some((last, times.saturating_add(1))),
            Some(_) | None => Some((key, 0)),
        };
    }

    /// Takes note that the task of a stream has come back.
    pub(super) fn came_back(&mut self, expected: &mut Expected) {
        if std::mem::take(&mut expected.0) == self.round {
            self.expected = self.expected.saturating_sub(1);
            self.is_complete = self.expected == 0;
        }
    }

    /// Takes note that a stream was given what had come.
    pub(super) const fn read(&mut self, key: StreamKey) {
        self.answering = Some(key);
    }

    /// Whether somebody who was woken is yet to come back.
    pub(super) const fn expects_somebody(&self) -> bool {
        self.expected > 0
    }

    /// Whether what a stream now writes is its answer, and nobody else is likely to speak.
    pub(super) fn is_answer(&mut self, key: StreamKey, open_streams: usize) -> bool {
        self.answering.take_if(|answering| *answering == key).is_some() && self.is_alone(open_streams)
    }

    /// Whether a task that is about to wait should send what is due.
    pub(super) const fn sends_before_waiting(&self, open_streams: usize) -> bool {
        self.is_complete || self.is_alone(open_streams)
    }

    /// Stops waiting for tasks that were woken: they had their turn, or all that they said goes out.
    pub(super) fn begin(&mut self) {
        self.expected = 0;
        self.is_complete = false;
        self.round = self.round.wrapping_add(1).max(1);
    }

    /// Whether only one stream is in use, as far as can be told.
    const fn is_alone(&self, open_streams: usize) -> bool {
        const TIMES: u32 = 2;
        open_streams <= 1 || matches!(self.last, Some((_, times)) if times >= TIMES)
    }
}
