//! A stream as the driver sees it: HTTP/2's handles on one side, the application's cell on the other.

use super::cell::{Cell, Flow, ReceiveEnd, SendEnd};
use super::heads::{close_code, reason, reset_code, reset_trailers};
use crate::StreamError;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

pub(super) struct Lane {
    pub(super) cell: Arc<Cell>,
    waker: Waker,
    send: SendStream<Bytes>,
    is_sent: bool,
    pub(super) receive: Receive,
    is_stop_sent: bool,
    /// Whether this side opened it.
    pub(super) is_local: bool,
}

/// What is awaited of the peer.
pub(super) enum Receive {
    /// The answer to a stream of ours.
    Answer(ResponseFuture),
    /// The answer to an invitation, with which it becomes a stream of the peer.
    Invitation(ResponseFuture),
    Body(RecvStream),
    Over,
}

/// What has to be done about a lane by those who own more than it.
pub(super) enum Turn {
    Nothing,
    /// The peer takes the invitation up.
    TakenUp(http::Response<RecvStream>),
    /// The peer has to be told to stop.
    Stop(CloseCode),
}

impl Lane {
    pub(super) fn new(cell: Arc<Cell>, send: SendStream<Bytes>, receive: Receive, is_local: bool) -> Self {
        let waker = Waker::from(Arc::clone(&cell));
        Self { cell, waker, send, is_sent: false, receive, is_stop_sent: false, is_local }
    }

    pub(super) fn id(&self) -> u32 {
        self.send.stream_id().as_u32()
    }

    pub(super) const fn is_invitation(&self) -> bool {
        matches!(self.receive, Receive::Invitation(_))
    }

    /// Whether nothing will come or go any more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_sent && matches!(self.receive, Receive::Over)
    }

    /// Moves what can be moved.
    pub(super) fn turn(&mut self) -> Turn {
        self.cell.take_turn();
        let cell = Arc::clone(&self.cell);
        let waker = self.waker.clone();
        let mut task = Context::from_waker(&waker);
        let mut flow = cell.flow();
        if let Some(taken_up) = self.receive(&mut flow, &mut task) {
            return Turn::TakenUp(taken_up);
        }
        if self.is_invitation() {
            return Turn::Nothing;
        }
        self.send(&mut flow, &mut task);
        let stop = self.stop(&flow);
        let has_room = flow.unsent.len() < cell.shared.config.send_buffer || flow.send_failure.is_some();
        let writer = flow.writer.take_if(|_| has_room);
        let has_news = !flow.unread.is_empty() || flow.receive_end.is_some();
        let reader = flow.reader.take_if(|_| has_news);
        drop(flow);
        writer.into_iter().chain(reader).for_each(Waker::wake);
        stop.map_or(Turn::Nothing, Turn::Stop)
    }

    /// The peer wants no more of this half.
    pub(super) fn stopped(&mut self, code: CloseCode) {
        let mut flow = self.cell.flow();
        if self.is_sent || flow.send_failure.is_some() {
            return;
        }
        flow.unsent.clear();
        flow.send_failure = Some(StreamError::Stopped { code });
        let writer = flow.writer.take();
        drop(flow);
        self.is_sent = true;
        // Fails only if the stream is over, which the peer knows then.
        let _ = self.send.send_trailers(reset_trailers(code));
        writer.into_iter().for_each(Waker::wake);
    }

    /// Gives both halves up.
    pub(super) fn refuse(&mut self, code: CloseCode) {
        self.send.send_reset(reason(code));
        self.is_sent = true;
        self.receive = Receive::Over;
    }

    fn receive(&mut self, flow: &mut Flow, task: &mut Context<'_>) -> Option<http::Response<RecvStream>> {
        loop {
            match &mut self.receive {
                Receive::Answer(answer) => match Pin::new(answer).poll(task) {
                    Poll::Ready(Ok(answer)) if answer.status() == http::StatusCode::OK => {
                        self.receive = Receive::Body(answer.into_body());
                    }
                    Poll::Ready(Ok(_)) => self.lose(flow, CloseCode::REFUSED),
                    Poll::Ready(Err(error)) => self.fail(flow, &error),
                    Poll::Pending => return None,
                },
                Receive::Invitation(answer) => match Pin::new(answer).poll(task) {
                    Poll::Ready(Ok(answer)) => return Some(answer),
                    Poll::Ready(Err(error)) => self.fail(flow, &error),
                    Poll::Pending => return None,
                },
                Receive::Body(body) => {
                    let consumed = std::mem::take(&mut flow.consumed);
                    if consumed > 0 {
                        // Fails only for more than came.
                        let _ = body.flow_control().release_capacity(consumed);
                    }
                    match body.poll_data(task) {
                        Poll::Ready(Some(Ok(octets))) if flow.stop.is_some() => {
                            flow.consumed = flow.consumed.saturating_add(octets.len());
                        }
                        Poll::Ready(Some(Ok(octets))) => flow.unread.push(octets),
                        Poll::Ready(Some(Err(error))) => self.fail(flow, &error),
                        Poll::Ready(None) => match body.poll_trailers(task) {
                            Poll::Ready(Ok(trailers)) => {
                                let code = trailers.as_ref().and_then(reset_code);
                                let end = code.map_or(ReceiveEnd::Finished, |code| {
                                    ReceiveEnd::Failed(StreamError::Reset { code })
                                });
                                flow.receive_end.get_or_insert(end);
                                self.receive = Receive::Over;
                            }
                            Poll::Ready(Err(error)) => self.fail(flow, &error),
                            Poll::Pending => return None,
                        },
                        Poll::Pending => return None,
                    }
                }
                Receive::Over => return None,
            }
        }
    }

    fn send(&mut self, flow: &mut Flow, task: &mut Context<'_>) {
        if self.is_sent {
            return;
        }
        if let Some(SendEnd::Reset(code)) = flow.send_end {
            self.is_sent = true;
            if matches!(self.receive, Receive::Over) || flow.stop == Some(code) {
                self.receive = Receive::Over;
                self.send.send_reset(reason(code));
            } else {
                let _ = self.send.send_trailers(reset_trailers(code));
            }
            return;
        }
        let finishes = flow.send_end == Some(SendEnd::Finished);
        while !flow.unsent.is_empty() {
            self.send.reserve_capacity(flow.unsent.len());
            let mut room = self.send.capacity();
            if room == 0 {
                match self.send.poll_capacity(task) {
                    Poll::Ready(Some(Ok(capacity))) => room = capacity,
                    Poll::Ready(Some(Err(_)) | None) | Poll::Pending => break,
                }
            }
            let Some(piece) = flow.unsent.pop(room) else { break };
            let is_last = finishes && flow.unsent.is_empty();
            if self.send.send_data(piece, is_last).is_err() {
                break;
            }
            self.is_sent |= is_last;
        }
        if finishes && flow.unsent.is_empty() && !self.is_sent {
            self.is_sent = true;
            let _ = self.send.send_data(Bytes::new(), true);
        }
        if !self.is_sent
            && let Poll::Ready(Ok(reason)) = self.send.poll_reset(task)
        {
            self.lose(flow, close_code(reason));
        }
    }

    /// The code with which the peer has to be told to stop, once it knows the stream.
    fn stop(&mut self, flow: &Flow) -> Option<CloseCode> {
        let code = flow.stop.filter(|_| matches!(self.receive, Receive::Body(_)) && !self.is_stop_sent)?;
        self.is_stop_sent = true;
        Some(code)
    }

    fn fail(&mut self, flow: &mut Flow, error: &h2::Error) {
        // Errors of the connection are told to everybody by whoever polls it.
        let code = error.reason().filter(|_| error.is_reset()).map(close_code);
        self.lose(flow, code.unwrap_or(CloseCode::CANCELLED));
    }

    /// The peer gave both halves up.
    fn lose(&mut self, flow: &mut Flow, code: CloseCode) {
        flow.unsent.clear();
        flow.receive_end.get_or_insert(ReceiveEnd::Failed(StreamError::Reset { code }));
        flow.send_failure.get_or_insert(StreamError::Stopped { code });
        self.is_sent = true;
        self.receive = Receive::Over;
        self.cell.shared.counters.resets_received.fetch_add(1, Ordering::Relaxed);
    }
}
