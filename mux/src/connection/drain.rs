//! Two-phase drain: a heads-up, then the last id that counts, then the end.

use super::{Connection, Phase, RecvState, SendState};
use crate::{Origin, SessionEnd, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::Frame;
use bytes::Bytes;
use std::time::Instant;

/// What both sides have said about draining.
///
/// ```text
///   drain()        GOAWAY heads-up      grace over        GOAWAY last id
///     --> HeadsUp(due) -------> HeadsUp ----------> Last(due) ----------> Last
///                                                                          |
///                               all streams over, or deadline (RESET each) v
///                                                                        CLOSE
/// ```
#[derive(Debug, Default)]
pub(super) struct Drain {
    ours: Option<Ours>,
    /// Whether the peer said that it drains.
    theirs: bool,
    /// The last id of ours that the peer will process, once it said so.
    their_last_id: Option<u32>,
}

#[derive(Debug)]
struct Ours {
    code: CloseCode,
    reason: Bytes,
    since: Instant,
    frame_due: bool,
    /// The last id of the peer that we process, once it is settled.
    last_id: Option<u32>,
    is_expired: bool,
}

impl Connection {
    /// Begins to drain: no new streams, open ones may finish, then CLOSE with `code`.
    ///
    /// The peer gets a heads-up at once, and after one round trip the last of its streams that count. Does nothing
    /// if a drain has begun or the session ended. The reason is cut at 256 octets.
    pub fn drain(&mut self, now: Instant, code: CloseCode, reason: Bytes) {
        self.now = self.now.max(now);
        if self.drain.ours.is_some() || self.end().is_some() {
            return;
        }
        self.stats.drains += 1;
        self.watch.draining(Origin::Local, code);
        self.drain.ours =
            Some(Ours { code, reason, since: self.now, frame_due: true, last_id: None, is_expired: false });
        self.due.openable = true;
    }

    /// Whether either side drains the session, so that no stream can be opened.
    pub const fn is_draining(&self) -> bool {
        self.drain.ours.is_some() || self.drain.theirs
    }

    pub(super) fn goaway_due(&self) -> bool {
        self.drain.ours.as_ref().is_some_and(|ours| ours.frame_due)
    }

    pub(super) fn take_goaway(&mut self) -> Option<Frame> {
        let ours = self.drain.ours.as_mut().filter(|ours| ours.frame_due)?;
        ours.frame_due = false;
        let frame = Frame::GoAway {
            last_id: ours.last_id.unwrap_or(u32::MAX),
            code: ours.code,
            reason: ours.reason.clone(),
            heads_up: ours.last_id.is_none(),
        };
        self.finish_drain_if_idle();
        Some(frame)
    }

    /// Whether the peer's stream `id` comes after the last one that we process.
    pub(super) fn is_past_drain(&self, id: u32) -> bool {
        let last = self.drain.ours.as_ref().and_then(|ours| ours.last_id);
        last.is_some_and(|last| id > last)
    }

    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        let ours = self.drain.ours.as_ref()?;
        if ours.is_expired {
            return None;
        }
        let grace =
            self.min_rtt.map_or(self.config.drain_grace, |rtt| (rtt * 2).min(self.config.drain_grace));
        ours.since.checked_add(if ours.last_id.is_none() { grace } else { self.config.drain_timeout })
    }

    pub(super) fn advance_drain(&mut self) {
        let last_remote = self.next_remote_id.saturating_sub(2);
        let Some(ours) = self.drain.ours.as_mut() else { return };
        if ours.last_id.is_none() {
            ours.last_id = Some(last_remote);
            ours.frame_due = true;
            return;
        }
        ours.is_expired = true;
        let places: Vec<usize> = self.slots.iter().map(|(place, _)| place).collect();
        self.stats.streams_cut_by_drain += super::to_u64(places.len());
        for place in places {
            self.reset_place(place, CloseCode::SHUTDOWN);
            self.stop_place(place, CloseCode::SHUTDOWN);
        }
        self.finish_drain_if_idle();
    }

    /// Closes once the drain has settled and no stream is left, or its time is over and all were told.
    pub(super) fn finish_drain_if_idle(&mut self) {
        let Some(ours) = self.drain.ours.as_ref() else { return };
        let is_told = ours.last_id.is_some() && !ours.frame_due;
        let is_idle = self.slots.is_empty() || (ours.is_expired && self.control.is_empty());
        if self.phase == Phase::Open && is_told && is_idle {
            let (code, reason) = (ours.code, ours.reason.clone());
            self.close(code, reason);
        }
    }

    pub(super) fn on_goaway(
        &mut self,
        last_id: u32,
        code: CloseCode,
        reason: Bytes,
        heads_up: bool,
    ) -> Result<(), Violation> {
        if self.drain.theirs && (heads_up || self.drain.their_last_id.is_some()) {
            // A heads-up and a last id are all that a drain needs; each last id is compared with every stream.
            self.useless()?;
        }
        if !self.drain.theirs {
            self.drain.theirs = true;
            self.stats.drains += 1;
            self.watch.draining(Origin::Peer, code);
            self.due.draining = Some((code, reason));
            self.due.openable = true;
        }
        if heads_up {
            return Ok(());
        }
        let highest = self.next_local_id.saturating_sub(2);
        let is_ours = last_id % 2 == self.role.first_id() % 2;
        let bound = self.drain.their_last_id.unwrap_or(highest);
        if last_id != 0 && (!is_ours || last_id > bound) {
            return Err(Violation::GoAwayId { last_id });
        }
        self.drain.their_last_id = Some(last_id);
        let refused: Vec<usize> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.local && (slot.id == 0 || slot.id > last_id))
            .map(|(place, _)| place)
            .collect();
        for place in refused {
            self.refuse_local(place);
        }
        Ok(())
    }

    /// Ends a stream of ours that the peer never processed.
    fn refuse_local(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        self.watch.stream_refused(Origin::Peer, slot.id, CloseCode::REFUSED);
        slot.recv.state = RecvState::Refused;
        slot.send.state = SendState::Finished;
        slot.send.queue.clear(&mut self.send_pool);
        (slot.reset_due, slot.stop_due, slot.credit_due) = (false, false, false);
        self.wake_reader(place);
        self.wake_writer(place);
        self.free_if_over(place);
    }
}

impl Connection {
    /// Ends the session now: the peer gets CLOSE with `code` and the first 256 octets of `reason`.
    pub fn close(&mut self, code: CloseCode, reason: Bytes) {
        let close = Some((code, reason.clone()));
        self.finish(SessionEnd::Local { code, reason }, close);
    }
}
