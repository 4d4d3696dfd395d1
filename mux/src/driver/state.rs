//! The core, and everybody who waits for it.

use super::shared::Shared;
use super::turns::{LastWake, Turns};
use crate::connection::{Connection, Event, StreamKey};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The core, and everybody who waits for it.
pub(super) struct State {
    pub(super) core: Connection,
    /// By the place of the stream.
    wakers: Vec<StreamWakers>,
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
struct StreamWakers {
    read: Option<Waker>,
    write: Option<Waker>,
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
    pub(super) fn new(core: Connection) -> Self {
        Self {
            core,
            wakers: Vec::new(),
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

    pub(super) fn set_read_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).read, waker);
    }

    pub(super) fn set_write_waker(&mut self, key: StreamKey, waker: &Waker) {
        set(&mut self.wakers(key).write, waker);
    }

    /// The driver runs, and looks at what is due before it ends.
    pub(super) const fn driver_runs(&mut self) {
        self.driver_awake = true;
    }

    /// The driver looks at what is due. Whatever becomes due from here on has to wake it.
    pub(super) fn begin_turn(&mut self, waker: &Waker, is_unfinished: bool) -> Turn {
        set(&mut self.driver, waker);
        if self.is_abandoned() {
            self.core.close(CloseCode::NONE, Bytes::new());
        }
        let is_over = self.core.end().is_some();
        let is_due = self.core.has_output();
        let lets_others_first = self.turns.lets_others_first(is_due && !is_over);
        // It comes back by itself if it lets others go first.
        self.driver_awake = lets_others_first;
        Turn {
            has_work: is_due || is_unfinished || self.has_blocked_writers(),
            lets_others_first,
            deadline: self.core.poll_timeout(),
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
        let wakers = self.wakers(key);
        if !std::mem::replace(&mut wakers.blocked, true) {
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
            let wakers = self.wakers(key);
            wakers.blocked = false;
            wakes.extend(wakers.write.take());
        }
    }

    pub(super) fn has_blocked_writers(&self) -> bool {
        !self.blocked_writers.is_empty()
    }

    /// Forgets who waited for a stream that is gone.
    pub(super) fn forget_reader(&mut self, key: StreamKey) {
        self.wakers(key).read = None;
    }

    /// Forgets who waited for a stream that is gone.
    pub(super) fn forget_writer(&mut self, key: StreamKey) {
        self.wakers(key).write = None;
    }

    /// The tasks that the core's events concern; each stream's at most once.
    pub(super) fn take_wakes_into(&mut self, shared: &Shared, wakes: &mut Vec<Waker>) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Readable(key) => {
                    if let Some(wakers) = self.wakers.get_mut(place(key))
                        && let Some(waker) = wakers.read.take()
                    {
                        wakes.push(waker);
                        self.turns.woke(key, &mut wakers.last_wake);
                    }
                }
                Event::Writable(key) => {
                    let waker = self.wakers(key).write.take();
                    waker.into_iter().for_each(|waker| wakes.push(waker));
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
                    wakes.extend(self.wakers.iter_mut().filter_map(|wakers| wakers.write.take()));
                }
            }
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

    fn wakers(&mut self, key: StreamKey) -> &mut StreamWakers {
        let place = place(key);
        if place >= self.wakers.len() {
            self.wakers.resize_with(place + 1, StreamWakers::default);
        }
        &mut self.wakers[place]
    }
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
