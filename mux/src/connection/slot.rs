//! What is kept for one stream.

use super::queue::ChunkQueue;
use super::schedule::Share;
use crate::StreamError;
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::MAX_DATA_BYTES;
use bytes::Bytes;
use std::time::Instant;

/// One stream: two halves, and what is due to be sent or said about them.
///
/// The slot is freed when both halves are terminal on the wire, nothing is due, and the local handles are gone.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The id on the wire; 0 until the OPEN is emitted.
    pub(crate) id: u32,
    /// Tells this stream from others that used the same place.
    pub(crate) stamp: u32,
    /// Whether this side opened it.
    pub(crate) local: bool,
    /// Whether the application has taken it up, or opened it.
    pub(crate) accepted: bool,
    /// Whether `SendHalf::queue` has its turn coming.
    pub(crate) in_ready: bool,
    /// Whether the place is in the list of streams with control frames due.
    pub(crate) in_control: bool,
    /// Whether the place is in the list of streams with events due.
    pub(crate) in_events: bool,
    /// Whether the place is in the list of streams with too little credit to be worth a frame.
    pub(crate) in_stingy: bool,
    /// Whether the OPEN is still to be emitted.
    pub(crate) in_opening: bool,
    pub(crate) credit_due: bool,
    pub(crate) reset_due: bool,
    pub(crate) stop_due: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// What it is due beside other streams.
    pub(crate) share: Share,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// The head, until it is emitted or taken.
    pub(crate) head: Bytes,
}

/// The half that this side writes.
#[derive(Debug)]
pub(crate) struct SendHalf {
    pub(crate) state: SendState,
    pub(crate) queue: ChunkQueue,
    /// Octets emitted.
    pub(crate) sent: u64,
    /// The peer's absolute limit.
    pub(crate) limit: u64,
    /// What the peer's STOP said, if it came.
    pub(crate) stopped: Option<CloseCode>,
    /// Whether to send however small the credit is: the peer kept us waiting.
    pub(crate) forced: bool,
    /// Whether a writer found no room and wants to know.
    pub(crate) waiting: bool,
    /// Whether the local handle is gone.
    pub(crate) released: bool,
}

/// What the sending half has come to.
///
/// ```text
///           finish          FIN emitted
///   Open ------------> Finishing ------------> Finished
///    |                     |
///    | reset, STOP         | reset, STOP
///    v                     v       RESET emitted
///   Resetting(code) ------------------------> Finished
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    Open,
    /// FIN goes out behind what is queued.
    Finishing,
    /// RESET is due with this code.
    Resetting(CloseCode),
    /// FIN or RESET is out.
    Finished,
}

/// The half that this side reads.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    pub(crate) state: RecvState,
    pub(crate) queue: ChunkQueue,
    /// Octets that came.
    pub(crate) received: u64,
    /// Octets that the application took, or that were dropped for it.
    pub(crate) consumed: u64,
    /// The absolute limit last sent.
    pub(crate) limit: u64,
    /// How far the limit runs ahead of what is consumed.
    pub(crate) window: u32,
    /// How much of `window` is reserved in the pools.
    pub(crate) reserved: u32,
    /// Unread octets that are slices of the buffers they came in: at least as many as there are.
    pub(crate) sliced: usize,
    /// Where a slice of less than a frame ends among all octets that came, if the reader has yet to take it.
    pub(crate) part_ends_at: Option<u64>,
    /// Unread DATA frames of a few octets.
    pub(crate) small_frames: u32,
    /// Why this side wants no more, if so.
    pub(crate) stopped: Option<CloseCode>,
    /// Whether a reader found nothing and wants to know.
    pub(crate) waiting: bool,
    /// Whether the local handle is gone.
    pub(crate) released: bool,
    /// Where the present measurement of the delivered rate began.
    pub(crate) epoch: Option<(Instant, u64)>,
    /// The delivered rate when the window last grew, in octets per second.
    pub(crate) grown_at: u64,
}

/// What the receiving half has come to. Anything but `Open` is terminal: nothing more may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecvState {
    Open,
    Finished,
    Reset(CloseCode),
    /// The peer drained before it saw the stream.
    Refused,
}

impl Slot {
    pub(crate) fn new(id: u32, stamp: u32, local: bool, send_limit: u64, window: u32, reserved: u32) -> Self {
        Self {
            id,
            stamp,
            local,
            accepted: local,
            in_ready: false,
            in_control: false,
            in_events: false,
            in_stingy: false,
            in_opening: false,
            credit_due: false,
            reset_due: false,
            stop_due: false,
            readable: false,
            writable: false,
            share: Share::new(),
            send: SendHalf {
                state: SendState::Open,
                queue: ChunkQueue::default(),
                sent: 0,
                limit: send_limit,
                stopped: None,
                forced: false,
                waiting: false,
                released: false,
            },
            recv: RecvHalf {
                state: RecvState::Open,
                queue: ChunkQueue::default(),
                received: 0,
                consumed: 0,
                limit: u64::from(window),
                window,
                reserved,
                sliced: 0,
                part_ends_at: None,
                small_frames: 0,
                stopped: None,
                waiting: false,
                released: false,
                epoch: None,
                grown_at: 0,
            },
            head: Bytes::new(),
        }
    }

    /// Whether nothing is left that either side may still say.
    pub(crate) fn is_over(&self) -> bool {
        self.send.state == SendState::Finished
            && self.recv.state != RecvState::Open
            && !self.reset_due
            && !self.stop_due
    }

    /// Whether the stream has DATA or a FIN that may go out now.
    pub(crate) fn is_sendable(&self) -> bool {
        match self.send.state {
            SendState::Open => !self.send.queue.is_empty() && self.send.has_worthwhile_credit(),
            SendState::Finishing => self.send.queue.is_empty() || self.send.has_worthwhile_credit(),
            SendState::Resetting(_) | SendState::Finished => false,
        }
    }

    /// How many octets may be queued for sending if `most` may be in all. 0 makes a note that somebody waits.
    pub(crate) fn room(&mut self, most: usize) -> Result<usize, StreamError> {
        if let Some(error) = self.write_refusal() {
            return Err(error);
        }
        let room = most.saturating_sub(self.send.queue.len());
        self.send.waiting |= room == 0;
        Ok(room)
    }

    /// Why nothing can be written any more, if so.
    pub(crate) fn write_refusal(&self) -> Option<StreamError> {
        if self.recv.state == RecvState::Refused {
            return Some(StreamError::Refused);
        }
        if let Some(code) = self.send.stopped {
            return Some(StreamError::Stopped { code });
        }
        (self.send.state != SendState::Open).then_some(StreamError::Ended)
    }

    /// How reading ends once the queue is empty: `None` if more may come, `Ok` after FIN.
    pub(crate) fn read_end(&self) -> Option<Result<(), StreamError>> {
        if self.recv.stopped.is_some() {
            return Some(Err(StreamError::Ended));
        }
        match self.recv.state {
            RecvState::Open => None,
            RecvState::Finished => Some(Ok(())),
            RecvState::Reset(code) => Some(Err(StreamError::Reset { code })),
            RecvState::Refused => Some(Err(StreamError::Refused)),
        }
    }
}

impl SendHalf {
    /// How many octets may still be sent.
    pub(crate) fn credit(&self) -> usize {
        usize::try_from(self.limit.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    /// Whether the credit suffices for a quarter of a frame or for all that is queued. A peer that grants octet by octet
    /// would otherwise make us send frames of one octet (the silly window). An honest one grants a quarter of its window
    /// at a time, which is no less even where the window is the floor: that must not wait.
    pub(crate) fn has_worthwhile_credit(&self) -> bool {
        let credit = self.credit();
        credit >= self.queue.len().min(usize::from(MAX_DATA_BYTES / 4)) || (self.forced && credit > 0)
    }
}
