//! The core, and everybody who waits for it.

use super::cell::{Cell, LETTER_BYTES, Letter, Letters, Mail, Posted, Source};
use super::ends::Ends;
use super::shared::Shared;
use super::turns::{LastWake, Turns};
use crate::StreamError;
use crate::connection::{Connection, Event, StreamKey};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use slab::Slab;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// The core, and everybody who waits for it.
pub(super) struct State {
    pub(super) core: Connection,
    /// By the place of the stream.
    seats: Vec<Seat>,
    /// Whether those who post know that the driver has to be woken, as far as the driver knows.
    is_said_to_sleep: bool,
    letters: Letters,
    writers: Slab<Waker>,
    pub(super) ends: Ends,
    /// Streams that were just taken off the list of those with letters; reused.
    collected: Vec<StreamKey>,
    /// How much may be queued for a stream that letters are taken from without asking for room.
    most_posted: usize,
    pub(super) acceptor: Option<Waker>,
    driver: Option<Waker>,
    /// Whether the driver was woken, or runs, and will look at what is due.
    driver_awake: bool,
    pub(super) turns: Turns,
    /// Streams whose writers wait until the connection takes more; each at most once.
    blocked_writers: VecDeque<StreamKey>,
    pub(super) last_pong: Option<(u64, Duration)>,
    /// Whether the `Incoming` is gone.
    pub(super) refuses_incoming: bool,
    /// Whether every `Session` is gone.
    pub(super) orphaned: bool,
}

#[derive(Default)]
struct Seat {
    /// None until the stream is used as one of many, and after its handles are gone.
    cell: Option<Arc<Cell>>,
    /// Who waits to read, unless it waits in the cell.
    reader: Option<Waker>,
    /// Who waits to write: a place in `State::writers`, which few streams need.
    writer: Option<NonZeroU32>,
    /// Whether the cell may hold a letter for the reader, or the reader's waker.
    uses_mail: bool,
    last_wake: LastWake,
    /// Whether it stands in `State::blocked_writers`.
    blocked: bool,
}

/// What the driver finds to do in one of its turns.
pub(super) struct Turn {
    /// Whether something is due, or blocked writers should try again.
    pub(super) has_work: bool,
    /// Whether tasks that were woken should have their say first.
    pub(super) lets_others_first: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) is_over: bool,
}

impl State {
    pub(super) fn new(core: Connection, send_buffer: usize) -> Self {
        Self {
            core,
            seats: Vec::new(),
            is_said_to_sleep: false,
            letters: Letters::default(),
            writers: Slab::new(),
            ends: Ends::default(),
            collected: Vec::new(),
            most_posted: (send_buffer / 2).min(MOST_POSTED).saturating_sub(LETTER_BYTES),
            acceptor: None,
            driver: None,
            driver_awake: false,
            turns: Turns::new(),
            blocked_writers: VecDeque::new(),
            last_pong: None,
            refuses_incoming: false,
            orphaned: false,
        }
    }

    /// Whether a task that is about to wait should send what is due.
    pub(super) fn sends_before_waiting(&self) -> bool {
        self.turns.are_few() && self.core.has_output()
    }

    /// The cell of a stream, for one more of its handles.
    pub(super) fn acquire_cell(&mut self, key: StreamKey) -> Arc<Cell> {
        let cell = self.seat_at(key).cell.get_or_insert_with(|| Arc::new(Cell::new(key)));
        cell.mail().acquire();
        Arc::clone(cell)
    }

    /// Registers a writer that found no room.
    pub(super) fn await_writing(&mut self, key: StreamKey, waker: &Waker) {
        let known = self.seat_at(key).writer.and_then(|at| self.writers.get_mut(index(at)));
        if let Some(known) = known {
            known.clone_from(waker);
            return;
        }
        let at = u32::try_from(self.writers.insert(waker.clone()) + 1).ok();
        self.seat_at(key).writer = at.and_then(NonZeroU32::new);
    }

    fn take_writer(&mut self, place: usize) -> Option<Waker> {
        let at = self.seats.get_mut(place)?.writer.take()?;
        self.writers.try_remove(index(at))
    }

    /// Hands the core what a stream's writer left, so that what is said next comes behind it.
    pub(super) fn settle(&mut self, cell: &Cell) {
        let letter = cell.mail().take_outbox();
        if let Some(letter) = letter {
            settle(&mut self.core, &mut self.letters, cell.key, letter);
        }
    }

    /// Hands the core what writers left.
    #[inline]
    pub(super) fn collect(&mut self, posted: &Posted) {
        if !posted.is_empty() {
            self.collect_letters(posted);
        }
    }

    #[inline(never)]
    fn collect_letters(&mut self, posted: &Posted) {
        // Whoever posts next may have woken the driver already.
        self.is_said_to_sleep = false;
        let mut keys = std::mem::take(&mut self.collected);
        posted.take_into(&mut keys);
        for key in keys.drain(..) {
            let Some(cell) = self.seats.get(place(key)).and_then(|seat| seat.cell.as_ref()) else { continue };
            if cell.key != key {
                continue;
            }
            let mut mail = cell.mail();
            let Some(letter) = mail.take_listed() else { continue };
            let is_taken = settle(&mut self.core, &mut self.letters, key, letter);
            mail.takes_letters = is_taken && self.core.unsent(key) <= self.most_posted;
            self.turns.wrote_one();
        }
        self.collected = keys;
    }

    /// Whether the reader of a stream has to look into the cell: many streams are in use, or were.
    pub(super) fn reads_mail(&self, key: StreamKey) -> bool {
        !self.turns.are_few() || self.seats.get(place(key)).is_some_and(|seat| seat.uses_mail)
    }

    /// Registers a reader that found nothing, unless it waits in the cell.
    pub(super) fn await_reading(&mut self, key: StreamKey, waker: &Waker) {
        let seat = self.seat_at(key);
        if !seat.uses_mail {
            set(&mut seat.reader, waker);
        }
    }

    /// Reads what the driver left in the cell, if it did, or else what came to the core; if there is neither, and many
    /// streams are in use, the reader waits in the cell.
    ///
    /// With it comes a buffer that nobody needs any more, to be dropped without the lock.
    #[inline(never)]
    pub(super) fn read_by_mail<T>(
        &mut self,
        cell: &Cell,
        task: &Context<'_>,
        read: &mut impl FnMut(Source<'_>) -> Result<Option<T>, StreamError>,
    ) -> Result<(Option<T>, Option<Box<Letter>>), StreamError> {
        let key = cell.key;
        let are_few = self.turns.are_few();
        let mut mail = cell.mail();
        let mut taken = read(Source::Mail(&mut mail))?;
        if taken.is_none() {
            taken = read(Source::Core(&mut self.core, key))?;
        }
        if taken.is_some() {
            return Ok((taken, None));
        }
        let seat = self.seat_at(key);
        seat.uses_mail = !are_few;
        if are_few {
            return Ok((None, mail.stop_reading()));
        }
        seat.reader = None;
        mail.is_armed = true;
        Ok((None, mail.await_letter(task.waker())))
    }

    /// Whether a stream's writer may leave letters from now on.
    pub(super) fn takes_letters(&self, key: StreamKey) -> bool {
        self.core.unsent(key) <= self.most_posted
    }

    /// The driver runs, and looks at what is due before it ends.
    pub(super) const fn driver_runs(&mut self) {
        self.driver_awake = true;
    }

    /// The driver looks at what is due. Whatever becomes due from here on has to wake it.
    pub(super) fn begin_turn(&mut self, shared: &Shared, waker: &Waker) -> Turn {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.driver = Some(waker.clone());
            self.is_said_to_sleep = false;
        }
        self.collect(&shared.posted);
        if self.is_abandoned() {
            self.core.close(CloseCode::NONE, Bytes::new());
        }
        let is_over = self.core.end().is_some();
        let is_due = self.core.has_output();
        let lets_others_first = self.turns.lets_others_first(is_due && !is_over);
        // It comes back by itself if it lets others go first.
        self.driver_awake = lets_others_first;
        let has_letters = !lets_others_first
            && !std::mem::replace(&mut self.is_said_to_sleep, true)
            && shared.posted.driver_sleeps(waker);
        Turn {
            has_work: is_due || has_letters || shared.is_unfinished() || self.has_blocked_writers(),
            lets_others_first,
            deadline: self.deadline(),
            is_over,
        }
    }

    /// The driver's waker, if it has to be told that something is due.
    pub(super) fn driver_to_wake(&mut self) -> Option<Waker> {
        if self.driver_awake {
            return None;
        }
        let is_due = self.core.has_output() || self.core.is_done() || self.is_abandoned();
        if !(is_due || self.core.take_new_deadline()) {
            return None;
        }
        let waker = self.driver.clone()?;
        self.driver_awake = true;
        Some(waker)
    }

    /// The driver's waker, once it was polled.
    pub(super) const fn driver(&self) -> Option<&Waker> {
        self.driver.as_ref()
    }

    /// Lines a writer up that waits until the connection takes more.
    pub(super) fn block_writer(&mut self, key: StreamKey) {
        if !std::mem::replace(&mut self.seat_at(key).blocked, true) {
            self.blocked_writers.push_back(key);
        }
    }

    /// Whether nobody is left who could use the session.
    pub(super) fn is_abandoned(&self) -> bool {
        self.orphaned && self.refuses_incoming && self.core.open_streams() == 0 && self.core.end().is_none()
    }

    /// Up to so many writers that wait for the connection itself.
    pub(super) fn unblock_writers(&mut self, most: usize, wakes: &mut Vec<Waker>) {
        for _ in 0..most {
            let Some(key) = self.blocked_writers.pop_front() else { return };
            let seat = self.seat_at(key);
            seat.blocked = false;
            wakes.extend(self.take_writer(place(key)));
        }
    }

    pub(super) fn has_blocked_writers(&self) -> bool {
        !self.blocked_writers.is_empty()
    }

    /// Forgets who waited to read a stream that nobody reads any more.
    pub(super) fn forget_reader(&mut self, key: StreamKey) {
        self.seat_at(key).reader = None;
    }

    /// Forgets who waited to write a stream that nobody writes any more.
    pub(super) fn forget_writer(&mut self, key: StreamKey) {
        let _ = self.take_writer(place(key));
    }

    /// Takes note that a handle is gone, and forgets the cell with the last that knew it.
    pub(super) fn leave(&mut self, cell: &Cell, stop: fn(&mut Mail) -> Option<Box<Letter>>) {
        let mut mail = cell.mail();
        let letter = stop(&mut mail);
        let is_last = mail.release();
        drop(mail);
        if let Some(letter) = letter {
            self.letters.keep(letter);
        }
        if is_last {
            let seat = self.seat_at(cell.key);
            (seat.cell, seat.uses_mail) = (None, false);
        }
    }

    /// The tasks that the core's events concern; each stream's at most once.
    pub(super) fn take_wakes_into(&mut self, shared: &Shared, wakes: &mut Vec<Waker>) {
        self.take_events(shared, wakes);
        self.ends.take_new(wakes);
    }

    /// As [`take_wakes_into`](Self::take_wakes_into), for the driver, which comes back for those that can wait.
    pub(super) fn take_wakes_of_input(&mut self, now: Instant, shared: &Shared, wakes: &mut Vec<Waker>) {
        self.take_events(shared, wakes);
        self.ends.hold(now, self.turns.are_few(), wakes);
    }

    /// Whether the session has just come to rest; gives memory back then.
    pub(super) fn take_rest(&mut self) -> bool {
        let rests = self.core.take_rest();
        if rests {
            self.letters = Letters::default();
        }
        rests
    }

    /// When the driver has to come back, whatever comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ends = self.ends.deadline();
        self.core.poll_timeout().map_or(ends, |core| Some(ends.map_or(core, |ends| ends.min(core))))
    }

    fn take_events(&mut self, shared: &Shared, wakes: &mut Vec<Waker>) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Readable(key) => self.on_readable(key, wakes),
                Event::Writable(key) => {
                    wakes.extend(self.take_writer(place(key)));
                }
                Event::Incoming if self.refuses_incoming => self.refuse_all(),
                Event::Incoming => self.acceptor.take().into_iter().for_each(|waker| wakes.push(waker)),
                Event::Connected | Event::Openable => shared.openers.notify_one(),
                Event::Datagram => shared.datagrams.notify_one(),
                Event::Pong { sequence, rtt } => {
                    self.last_pong = Some((sequence, rtt));
                    shared.pongs.notify_waiters();
                }
                Event::Draining { .. } => shared.openers.notify_waiters(),
                Event::Closed(_) => {
                    shared.has_ended.store(true, Ordering::Release);
                    shared.openers.notify_waiters();
                    shared.openers.notify_one();
                    shared.pongs.notify_waiters();
                    shared.ended.notify_waiters();
                    shared.datagrams.notify_waiters();
                    self.acceptor.take().into_iter().for_each(|waker| wakes.push(waker));
                    for cell in self.seats.iter().filter_map(|seat| seat.cell.as_ref()) {
                        cell.mail().takes_letters = false;
                    }
                    self.ends.take_all(wakes);
                    for place in 0..self.seats.len() {
                        wakes.extend(self.take_writer(place));
                    }
                }
            }
        }
        let are_few = self.turns.are_few();
        if shared.are_few() != are_few {
            shared.are_few.store(are_few, Ordering::Relaxed);
        }
    }

    /// Leaves a letter for the reader if what came fits in one; else the reader comes for it.
    fn on_readable(&mut self, key: StreamKey, wakes: &mut Vec<Waker>) {
        let Some(seat) = self.seats.get_mut(place(key)) else { return };
        let uses_mail = seat.uses_mail || !self.turns.are_few();
        let Some(cell) = seat.cell.as_ref().filter(|cell| uses_mail && cell.key == key) else {
            let Some(waker) = seat.reader.take() else { return };
            // Its own half is over too, and nothing is left to read: it can do no more than go.
            if self.core.unread(key) == 0 && self.core.room(key).is_err() {
                return self.ends.came(waker);
            }
            wakes.push(waker);
            return self.turns.woke(key, &mut seat.last_wake);
        };
        seat.uses_mail = true;
        let mut mail = cell.mail();
        let is_short = !self.turns.are_few() && (1..=LETTER_BYTES).contains(&self.core.unread(key));
        let inbox = if is_short { mail.next_inbox(|| self.letters.take()) } else { None };
        let is_delivered = inbox.is_some();
        if let Some(letter) = inbox {
            letter.fill(|room| self.core.read(key, room).ok().flatten().unwrap_or_default());
        }
        // Nothing is left, so that this only asks the core to say when there is, unless there is an end.
        mail.is_armed = is_delivered && matches!(self.core.read(key, &mut [0]), Ok(None));
        let waker = mail.take_reader();
        drop(mail);
        let Some(waker) = seat.reader.take().or(waker) else { return };
        wakes.push(waker);
        self.turns.woke(key, &mut seat.last_wake);
        if is_delivered {
            self.turns.read(key);
        }
    }

    /// As [`take_wakes_into`](Self::take_wakes_into), for callers without a list to reuse.
    pub(super) fn take_wakes(&mut self, shared: &Shared) -> Vec<Waker> {
        let mut wakes = Vec::new();
        self.take_wakes_into(shared, &mut wakes);
        wakes
    }

    pub(super) fn refuse_all(&mut self) {
        while let Some(key) = self.core.next_incoming() {
            self.core.refuse(key, CloseCode::REFUSED);
        }
    }

    fn seat_at(&mut self, key: StreamKey) -> &mut Seat {
        let place = place(key);
        if place >= self.seats.len() {
            self.seats.resize_with(place + 1, Seat::default);
        }
        &mut self.seats[place]
    }
}

/// Hands the core a letter; says whether the stream takes more.
///
/// It is taken whole: letters are left only while so little is queued that a send buffer, of which each stream has 64 KiB
/// however many there are, has room for one more.
fn settle(core: &mut Connection, letters: &mut Letters, key: StreamKey, letter: Box<Letter>) -> bool {
    let written = core.write(key, letter.rest());
    debug_assert!(written.as_ref().is_ok_and(|taken| *taken == letter.rest().len()) || written.is_err());
    letters.keep(letter);
    written.is_ok()
}

/// Where in `State::writers`: places fit in a `usize`, and are counted from 1 in a seat.
fn index(at: NonZeroU32) -> usize {
    usize::try_from(at.get() - 1).unwrap_or(usize::MAX)
}

fn place(key: StreamKey) -> usize {
    usize::try_from(key.place()).unwrap_or(usize::MAX)
}

pub(super) fn set(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// A stream with more than so much queued asks for room before it writes; less than any stream may have queued.
const MOST_POSTED: usize = 32 * 1024;
