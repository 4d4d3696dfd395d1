//! What a stream's handles share with whoever moves the core, without the lock of the core.
//!
//! While many streams are in use each of them has a cell with a lock of its own. Small messages are exchanged there: the driver leaves what came in a
//! letter and wakes the reader, and in a crowd a writer leaves a letter that the driver takes along. So 256 streams in
//! conversation on many threads don't queue up for the one lock of their session.

use super::state::set;
use super::sync::{AtomicBool, Mutex, MutexGuard};
use crate::connection::{Connection, StreamKey};
use bytes::Bytes;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// Where a stream's handles and the driver meet. Its lock is taken last, and nothing is called under it.
pub(super) struct Cell {
    pub(super) key: StreamKey,
    mail: Mutex<Mail>,
}

pub(super) struct Mail {
    reader: Option<Waker>,
    /// What the core gave and the reader has not taken; empty ones are kept for the next.
    inbox: Option<Box<Letter>>,
    /// What the writer left for the core.
    outbox: Option<Box<Letter>>,
    /// Whether the core has nothing for the reader, and will say so when it has.
    pub(super) is_armed: bool,
    /// Whether the core will take a letter whole, whenever it comes.
    pub(super) takes_letters: bool,
    /// Whether the stream stands in [`Posted`].
    is_listed: bool,
    /// How many of the stream's handles know the cell.
    handles: u8,
}

/// A few octets on their way between a task and the core.
pub(super) struct Letter {
    octets: [u8; LETTER_BYTES],
    begin: usize,
    end: usize,
}

/// Letters for reuse, at most [`LETTERS_KEPT`].
#[derive(Default)]
pub(super) struct Letters {
    #[expect(clippy::vec_box, reason = "they move between cells as they are, without being allocated anew")]
    kept: Vec<Box<Letter>>,
}

/// Streams whose writers left letters.
pub(super) struct Posted {
    /// Whether there are any, for a look without the lock.
    is_any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// Each once; those that came and went since the driver looked too.
    keys: Vec<StreamKey>,
    driver: Option<Waker>,
    /// Whether the driver has to be woken for the next letter.
    driver_sleeps: bool,
}

/// Where a reader looks: in the letter that the driver left, or in the core.
pub(super) enum Source<'place> {
    Mail(&'place mut Mail),
    Core(&'place mut Connection, StreamKey),
}

impl Cell {
    pub(super) fn new(key: StreamKey) -> Self {
        Self { key, mail: Mutex::new(Mail::new()) }
    }

    pub(super) fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    const fn new() -> Self {
        Self {
            reader: None,
            inbox: None,
            outbox: None,
            is_armed: false,
            takes_letters: false,
            is_listed: false,
            handles: 0,
        }
    }

    /// Copies what came into `out`; `None` if there is nothing, or no room.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Option<usize> {
        self.inbox.as_mut().map(|letter| letter.read(out)).filter(|read| *read > 0)
    }

    /// What came.
    pub(super) fn read_chunk(&mut self) -> Option<Bytes> {
        let letter = self.inbox.as_mut().filter(|letter| !letter.is_empty())?;
        let chunk = Bytes::copy_from_slice(letter.rest());
        letter.clear();
        Some(chunk)
    }

    /// Lets a reader wait; gives back the buffer that nobody needs meanwhile, to be dropped outside the lock.
    pub(super) fn await_letter(&mut self, waker: &Waker) -> Option<Box<Letter>> {
        set(&mut self.reader, waker);
        self.inbox.take()
    }

    pub(super) const fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// A buffer for what came, unless the reader has not taken what came before: the one that it emptied, or another.
    pub(super) fn next_inbox(&mut self, other: impl FnOnce() -> Box<Letter>) -> Option<&mut Letter> {
        let letter = self.inbox.get_or_insert_with(other);
        letter.is_empty().then_some(letter)
    }

    /// Leaves a message for the core, whole or not at all; says whether the stream is to be listed.
    pub(super) fn post(&mut self, octets: &[u8]) -> Option<bool> {
        if !self.takes_letters {
            return None;
        }
        let spare = &mut self.inbox;
        let letter = self.outbox.get_or_insert_with(|| {
            spare.take_if(|letter| letter.is_empty()).unwrap_or_else(|| Box::new(Letter::default()))
        });
        letter.add(octets).then(|| !std::mem::replace(&mut self.is_listed, true))
    }

    /// What the writer left.
    pub(super) const fn take_outbox(&mut self) -> Option<Box<Letter>> {
        self.outbox.take()
    }

    /// As [`take_outbox`](Self::take_outbox), for a stream that has just been taken off the list.
    pub(super) const fn take_listed(&mut self) -> Option<Box<Letter>> {
        self.is_listed = false;
        self.take_outbox()
    }

    /// Forgets the reader and what it has not taken: the core is asked from now on.
    pub(super) fn stop_reading(&mut self) -> Option<Box<Letter>> {
        self.is_armed = false;
        self.reader = None;
        self.inbox.take()
    }

    /// Takes no more letters; gives back what was left.
    pub(super) const fn stop_writing(&mut self) -> Option<Box<Letter>> {
        self.takes_letters = false;
        self.outbox.take()
    }

    /// Whether the writer left something that the core has not taken.
    pub(super) const fn has_outbox(&self) -> bool {
        self.outbox.is_some()
    }

    /// Takes note that a handle knows the cell.
    pub(super) const fn acquire(&mut self) {
        self.handles = self.handles.saturating_add(1);
    }

    /// Takes note that a handle is gone; says whether it was the last.
    pub(super) const fn release(&mut self) -> bool {
        self.handles = self.handles.saturating_sub(1);
        self.handles == 0
    }
}

impl Letter {
    pub(super) const fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.octets.get(self.begin..self.end).unwrap_or_default()
    }

    pub(super) const fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    /// Fills an empty letter by `read`, which says how much it wrote.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> usize) {
        (self.begin, self.end) = (0, read(&mut self.octets).min(LETTER_BYTES));
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        let rest = self.rest();
        let taken = rest.len().min(out.len());
        if let (Some(out), Some(octets)) = (out.get_mut(..taken), rest.get(..taken)) {
            out.copy_from_slice(octets);
        }
        self.begin += taken;
        taken
    }

    /// Adds all of `octets`, or nothing if they don't fit.
    fn add(&mut self, octets: &[u8]) -> bool {
        let Some(room) = self.octets.get_mut(self.end..self.end + octets.len()) else { return false };
        room.copy_from_slice(octets);
        self.end += octets.len();
        true
    }
}

impl Default for Letter {
    fn default() -> Self {
        Self { octets: [0; LETTER_BYTES], begin: 0, end: 0 }
    }
}

impl Letters {
    pub(super) fn take(&mut self) -> Box<Letter> {
        self.kept.pop().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, mut letter: Box<Letter>) {
        if self.kept.len() < LETTERS_KEPT {
            letter.clear();
            self.kept.push(letter);
        }
    }
}

impl Posted {
    pub(super) fn new() -> Self {
        Self { is_any: AtomicBool::new(false), list: Mutex::new(List::default()) }
    }

    /// Lists a stream, and wakes the driver if it sleeps.
    pub(super) fn post(&self, key: StreamKey) {
        let mut list = self.list();
        list.keys.push(key);
        self.is_any.store(true, Ordering::Release);
        let sleeps = std::mem::take(&mut list.driver_sleeps);
        let driver = if sleeps { list.driver.clone() } else { None };
        drop(list);
        driver.into_iter().for_each(Waker::wake);
    }

    /// Whether no stream is listed.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_any.load(Ordering::Acquire)
    }

    /// Takes the streams off the list.
    pub(super) fn take_into(&self, keys: &mut Vec<StreamKey>) {
        let mut list = self.list();
        self.is_any.store(false, Ordering::Release);
        std::mem::swap(&mut list.keys, keys);
    }

    /// Says that the driver has to be woken for the next letter; whether there is one already.
    pub(super) fn driver_sleeps(&self, waker: &Waker) -> bool {
        let mut list = self.list();
        set(&mut list.driver, waker);
        list.driver_sleeps = true;
        !list.keys.is_empty()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest message that goes by letter; with the two numbers beside it, one KiB.
pub(super) const LETTER_BYTES: usize = 1024 - 2 * size_of::<usize>();
/// How many letters a session keeps for reuse: 256 KiB.
const LETTERS_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_in_order_and_in_pieces() {
        let mut letter = Letter::default();
        assert!(letter.add(b"abc") && letter.add(b"defg"));
        let mut out = [0; 4];
        assert_eq!((letter.read(&mut out), &out), (4, b"abcd"));
        assert_eq!((letter.read(&mut out), &out[..3]), (3, &b"efg"[..]));
        assert!(letter.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_not_taken_in_part() {
        let mut letter = Letter::default();
        assert!(letter.add(&[1; LETTER_BYTES - 1]));
        assert!(!letter.add(&[2; 2]));
        assert_eq!(letter.rest().len(), LETTER_BYTES - 1);
    }

    #[test]
    fn a_stream_is_listed_once_until_it_is_taken_off() {
        let mut mail = Mail::new();
        assert_eq!(mail.post(b"early"), None);
        mail.takes_letters = true;
        assert_eq!((mail.post(b"a"), mail.post(b"b")), (Some(true), Some(false)));
        assert_eq!(mail.take_outbox().unwrap().rest(), b"ab");
        assert_eq!(mail.post(b"c"), Some(false), "it is still listed");
        assert_eq!(mail.take_listed().unwrap().rest(), b"c");
        assert_eq!(mail.post(b"d"), Some(true));
    }
}
