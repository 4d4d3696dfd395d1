//! A stream as the driver sees it: HTTP/2's handles on one side, the application's cell on the other.

use super::cell::{Cell, Flow, News, ReceiveEnd, SendEnd, Sending};
use super::dialect::{Answer, LinkError, ReceiveHalf, Reply, SendHalf};
use super::heads::{close_code, reset_code, reset_number, reset_trailers, response};
use crate::{Origin, StreamError};
use adit_wire_proto::CloseCode;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(super) struct Lane {
    pub(super) cell: Arc<Cell>,
    /// For the receiving half, and for the sending half.
    wakers: [Waker; 2],
    id: u32,
    send: Sender,
    is_sent: bool,
    pub(super) receive: Receive,
    is_stop_sent: bool,
    /// Whether this side opened it.
    pub(super) is_local: bool,
    /// Whether an octet of the peer came.
    has_come: bool,
    /// Whether the peer gave up a stream of its own before one came, which is yet to be told.
    has_left_at_once: bool,
}

/// What octets are sent with.
pub(super) enum Sender {
    Half(SendHalf),
    /// The answer is due. It leaves with the first octets if the application has some at once, and soon in any case.
    Reply(Reply),
    Over,
}

/// What is awaited of the peer.
pub(super) enum Receive {
    /// The answer to a stream of ours.
    Answer(Answer),
    /// The answer to an invitation, with which it becomes a stream of the peer.
    Invitation(Answer),
    Body(ReceiveHalf),
    Over,
}

/// What has to be done about a lane by those who own more than it.
pub(super) enum Turn {
    Nothing,
    /// The peer takes the invitation up.
    TakenUp(TakenUp),
    /// The peer has to be told to stop.
    Stop(CloseCode),
    /// The peer gave its stream up before it had sent an octet.
    LeftAtOnce,
}

/// The head and the body with which an invitation is answered.
pub(super) type TakenUp = (http::Response<()>, ReceiveHalf);

impl Lane {
    pub(super) fn new(id: u32, cell: Arc<Cell>, send: Sender, receive: Receive, is_local: bool) -> Self {
        let sending = Arc::new(Sending(Arc::clone(&cell)));
        let wakers = [Waker::from(Arc::clone(&cell)), Waker::from(sending)];
        Self {
            cell,
            wakers,
            id,
            send,
            is_sent: false,
            receive,
            is_stop_sent: false,
            is_local,
            has_come: false,
            has_left_at_once: false,
        }
    }

    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    pub(super) const fn is_invitation(&self) -> bool {
        matches!(self.receive, Receive::Invitation(_))
    }

    /// Whether nothing will come or go any more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_sent && matches!(self.receive, Receive::Over)
    }

    /// Moves what can be moved. There may be more news than what the cell knows of.
    pub(super) fn turn(&mut self, others: News) -> Turn {
        let news = self.cell.take_news().and(others);
        let cell = Arc::clone(&self.cell);
        let mut flow = cell.flow();
        if (news.has(News::RECEIVING) || flow.owes_credit())
            && let Some(taken_up) = self.receive(&mut flow)
        {
            return Turn::TakenUp(taken_up);
        }
        if self.is_invitation() {
            return Turn::Nothing;
        }
        self.send(&mut flow, news);
        let stop = self.stop(&flow);
        let has_room = flow.unsent.len() < cell.shared.config.send_buffer || flow.send_failure.is_some();
        let writer = flow.writer.take_if(|_| has_room);
        let has_news = !flow.unread.is_empty() || flow.receive_end.is_some();
        let reader = flow.reader.take_if(|_| has_news);
        drop(flow);
        writer.into_iter().chain(reader).for_each(Waker::wake);
        if std::mem::take(&mut self.has_left_at_once) {
            return Turn::LeftAtOnce;
        }
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
        self.cell.shared.watch.stopped(Origin::Peer, self.id(), code);
        let writer = flow.writer.take();
        drop(flow);
        self.is_sent = true;
        self.finish_with(code);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Gives both halves up.
    pub(super) fn refuse(&mut self, code: CloseCode) {
        self.reset(code);
        self.is_sent = true;
        self.receive = Receive::Over;
    }

    fn reset(&mut self, code: CloseCode) {
        match std::mem::replace(&mut self.send, Sender::Over) {
            Sender::Half(mut send) => send.reset(reset_number(code)),
            Sender::Reply(reply) => reply.reset(reset_number(code)),
            Sender::Over => {}
        }
    }

    /// Ends the sending half with a code. Fails only if the stream is over, which the peer knows then.
    fn finish_with(&mut self, code: CloseCode) {
        self.answer();
        if let Sender::Half(send) = &mut self.send {
            let _ = send.finish_with(reset_trailers(code));
        }
    }

    /// Sends the answer, if it is due.
    fn answer(&mut self) {
        if !matches!(self.send, Sender::Reply(_)) {
            return;
        }
        if let Sender::Reply(reply) = std::mem::replace(&mut self.send, Sender::Over) {
            // Fails only if the stream is over: the receiving half says so.
            self.send = reply.answer(response(None)).map_or(Sender::Over, Sender::Half);
            self.is_sent |= matches!(self.send, Sender::Over);
        }
    }

    fn receive(&mut self, flow: &mut Flow) -> Option<TakenUp> {
        let waker = self.wakers[0].clone();
        let task = &mut Context::from_waker(&waker);
        loop {
            match &mut self.receive {
                Receive::Answer(answer) => match Pin::new(answer).poll(task) {
                    Poll::Ready(Ok((head, body))) if head.status() == http::StatusCode::OK => {
                        self.receive = Receive::Body(body);
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
                    if flow.owes_credit() {
                        // Fails only for more than came.
                        let _ = body.release(std::mem::take(&mut flow.consumed));
                    }
                    let polled = body.poll_data(task);
                    self.has_come |= matches!(polled, Poll::Ready(Some(Ok(_))));
                    match polled {
                        Poll::Ready(Some(Ok(octets))) if flow.stop.is_some() => {
                            flow.consumed = flow.consumed.saturating_add(octets.len());
                        }
                        Poll::Ready(Some(Ok(octets))) => flow.unread.push(octets),
                        Poll::Ready(Some(Err(error))) => self.fail(flow, &error),
                        Poll::Ready(None) => match body.poll_trailers(task) {
                            Poll::Ready(Ok(trailers)) => {
                                let code = trailers.as_ref().and_then(reset_code);
                                if let Some(code) = code {
                                    self.leave(flow);
                                    self.cell.shared.reset_received(self.id, code);
                                }
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

    /// Sends what can be sent; learns, if there are news of that, whether the peer has given the stream up.
    fn send(&mut self, flow: &mut Flow, news: News) {
        if self.is_sent {
            return;
        }
        let waker = self.wakers[1].clone();
        let task = &mut Context::from_waker(&waker);
        if let Some(SendEnd::Reset(code)) = flow.send_end {
            self.is_sent = true;
            self.cell.shared.watch.reset(Origin::Local, self.id(), code);
            if matches!(self.receive, Receive::Over) || flow.stop == Some(code) {
                self.receive = Receive::Over;
                self.reset(code);
            } else {
                self.finish_with(code);
            }
            return;
        }
        if !flow.unsent.is_empty() || flow.send_end.is_some() || news.has(News::DUE) {
            self.answer();
        }
        let Sender::Half(send) = &mut self.send else { return };
        let finishes = flow.send_end == Some(SendEnd::Finished);
        while !flow.unsent.is_empty() {
            let Poll::Ready(Ok(room)) = send.poll_room(task, flow.unsent.len()) else { break };
            let Some(piece) = flow.unsent.pop(room) else { break };
            let is_last = finishes && flow.unsent.is_empty();
            if send.push(piece, is_last).is_err() {
                break;
            }
            self.is_sent |= is_last;
        }
        if finishes && flow.unsent.is_empty() && !self.is_sent {
            self.is_sent = true;
            let _ = send.finish();
        }
        if news.has(News::SENDING)
            && !self.is_sent
            && let Poll::Ready(Ok(number)) = send.poll_given_up(task)
        {
            self.leave(flow);
            self.lose(flow, close_code(number));
        }
    }

    /// The code with which the peer has to be told to stop, once it knows the stream.
    fn stop(&mut self, flow: &Flow) -> Option<CloseCode> {
        let code = flow.stop.filter(|_| matches!(self.receive, Receive::Body(_)) && !self.is_stop_sent)?;
        self.is_stop_sent = true;
        Some(code)
    }

    fn fail(&mut self, flow: &mut Flow, error: &LinkError) {
        let code = match error {
            LinkError::Reset { code, by } => {
                if *by == Origin::Peer {
                    self.leave(flow);
                }
                close_code(*code)
            }
            // Errors of the connection are told to everybody by whoever polls it.
            LinkError::GoneAway { .. }
            | LinkError::Io { .. }
            | LinkError::NotOffered
            | LinkError::Misplaced
            | LinkError::TimedOut => CloseCode::CANCELLED,
        };
        self.lose(flow, code);
    }

    /// The peer gives its half up. One that this side stopped ends like that in good order, and an invitation is no
    /// stream yet.
    fn leave(&mut self, flow: &Flow) {
        self.has_left_at_once |=
            !self.is_local && !self.has_come && flow.stop.is_none() && !self.is_invitation();
    }

    /// The peer gave both halves up.
    fn lose(&mut self, flow: &mut Flow, code: CloseCode) {
        flow.unsent.clear();
        flow.receive_end.get_or_insert(ReceiveEnd::Failed(StreamError::Reset { code }));
        flow.send_failure.get_or_insert(StreamError::Stopped { code });
        self.is_sent = true;
        self.receive = Receive::Over;
        self.cell.shared.reset_received(self.id(), code);
    }
}
