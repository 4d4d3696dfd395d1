//! The stream beside the streams: limits, drain, pings, stops, datagrams and the end.

use super::dialect::{Answer, ReceiveHalf, SendHalf};
use adit_wire_proto::frame::Frame;
use bytes::{Bytes, BytesMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(super) struct ControlStream {
    send: Option<SendHalf>,
    receive: Receive,
    unsent: BytesMut,
    /// Octets that went to HTTP/2.
    sent: u64,
}

enum Receive {
    Nothing,
    Answer(Answer),
    Body(ReceiveHalf),
}

impl ControlStream {
    pub(super) fn new() -> Self {
        Self { send: None, receive: Receive::Nothing, unsent: BytesMut::new(), sent: 0 }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.send.is_some()
    }

    /// The gateway's side.
    pub(super) fn ask(&mut self, send: SendHalf, answer: Answer) {
        (self.send, self.receive) = (Some(send), Receive::Answer(answer));
    }

    /// The agent's side.
    pub(super) fn answer(&mut self, send: SendHalf, body: ReceiveHalf) {
        (self.send, self.receive) = (Some(send), Receive::Body(body));
    }

    pub(super) fn push(&mut self, frame: &Frame) {
        frame.encode(&mut self.unsent);
    }

    /// Whether all that was pushed is with HTTP/2.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// How many octets are with HTTP/2.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Gives HTTP/2 what it takes.
    pub(super) fn poll_send(&mut self, task: &mut Context<'_>) {
        let Some(send) = &mut self.send else { return };
        while !self.unsent.is_empty() {
            let Poll::Ready(Ok(room)) = send.poll_room(task, self.unsent.len()) else { return };
            let piece = self.unsent.split_to(room.min(self.unsent.len())).freeze();
            self.sent = self.sent.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if send.push(piece, false).is_err() {
                return;
            }
        }
    }

    /// The next octets of the peer; `None` if the stream is over, which it must not be.
    pub(super) fn poll_receive(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.receive {
                Receive::Nothing => return Poll::Pending,
                Receive::Answer(answer) => match ready!(Pin::new(answer).poll(task)) {
                    Ok((head, body)) if head.status() == http::StatusCode::OK => {
                        self.receive = Receive::Body(body);
                    }
                    Ok(_) | Err(_) => return Poll::Ready(None),
                },
                Receive::Body(body) => {
                    let Some(Ok(octets)) = ready!(body.poll_data(task)) else { return Poll::Ready(None) };
                    // Fails only for more than came.
                    let _ = body.release(octets.len());
                    return Poll::Ready(Some(octets));
                }
            }
        }
    }
}
