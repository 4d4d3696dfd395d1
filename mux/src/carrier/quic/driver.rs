//! What goes on in a session that no handle asks for: drain, pings, rests, refusals.

use super::link::{Link, now};
use super::numbers::{number, var_int};
use super::stream::{Flush, Half};
use crate::{Abuse, Config, SessionEnd, Timeout, Violation};
use adit_wire_proto::CloseCode;
use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::{Chunk, ReadError, RecvStream, SendStream, WriteError};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

/// Runs until the connection is over.
pub(super) async fn drive(
    link: Arc<Link>,
    mut rests: mpsc::UnboundedReceiver<Arc<Mutex<Half>>>,
) -> SessionEnd {
    let guard = Dropped { link: Arc::clone(&link), is_over: false };
    let mut control = Streams { receive: None, send: None, unsent: BytesMut::new(), stalled: None };
    let mut flushing = FuturesUnordered::new();
    let mut traffic = Traffic::new(&link);
    let error = loop {
        let refuses = link.state().refuses_incoming;
        let deadline = control.next(&link);
        tokio::select! {
            error = link.connection.closed() => break error,
            () = link.changed.notified() => {}
            () = until(deadline) => {}
            () = traffic.due() => traffic.tell(&link),
            Some(half) = rests.recv() => flushing.push(Flush(half)),
            Some(()) = flushing.next() => {}
            Ok((mut send, mut receive)) = link.connection.accept_bi(), if refuses => {
                let code = var_int(CloseCode::REFUSED);
                let _ = (send.reset(code), receive.stop(code));
                drop(link.taken_up(number(send.id())));
                link.charge(Abuse::ForcedResets);
            }
            Ok(stream) = link.connection.accept_uni(), if control.receive.is_none() => {
                control.receive = Some(stream);
            }
            chunk = read(&mut control.receive) => control.receive(&link, chunk),
            Ok(stream) = link.connection.open_uni(), if control.wants_stream() => control.send = Some(stream),
            written = write(&mut control.send, &control.unsent), if !control.unsent.is_empty() => {
                control.wrote(&link, written);
            }
        }
    };
    guard.finish();
    traffic.tell(&link);
    rests.close();
    while let Ok(half) = rests.try_recv() {
        drop(Flush(half));
    }
    link.draining.notify_waiters();
    let end = link.end_of(error);
    link.watch.ended(&end);
    end
}

/// What crossed the connection, which QUIC counts and the observer is told each second.
struct Traffic {
    /// None without an observer.
    second: Option<tokio::time::Interval>,
    received: u64,
    sent: u64,
}

impl Traffic {
    fn new(link: &Link) -> Self {
        let second = link.config.observer.0.as_ref().map(|_| tokio::time::interval(TELLING));
        Self { second, received: 0, sent: 0 }
    }

    async fn due(&mut self) {
        match &mut self.second {
            Some(second) => drop(second.tick().await),
            None => pending().await,
        }
    }

    fn tell(&mut self, link: &Link) {
        if self.second.is_none() {
            return;
        }
        let stats = link.connection.stats();
        let (received, sent) = (stats.udp_rx.bytes, stats.udp_tx.bytes);
        if received > self.received {
            link.watch.received(received.saturating_sub(self.received));
        }
        if sent > self.sent {
            link.watch.sent(sent.saturating_sub(self.sent));
        }
        (self.received, self.sent) = (received, sent);
    }
}

const TELLING: std::time::Duration = std::time::Duration::from_secs(1);

/// The two streams for frames beside the others, each opened by the side that writes it, when it has something to say.
struct Streams {
    receive: Option<RecvStream>,
    send: Option<SendStream>,
    /// Frames on their way out; at most one of each kind.
    unsent: BytesMut,
    /// Since when they wait without progress.
    stalled: Option<Instant>,
}

impl Streams {
    /// Gathers what is to be sent, closes if a drain is over; says when to look again.
    fn next(&mut self, link: &Link) -> Option<Instant> {
        let now = now();
        let mut state = link.state();
        let tally = state.tally;
        // While the peer takes nothing here, what it provokes must not pile up.
        let is_clear = self.unsent.is_empty();
        while is_clear && let Some(frame) = state.control.poll_frame(now, tally) {
            frame.encode(&mut self.unsent);
        }
        let deadline = state.control.deadline();
        let is_late = deadline.is_some_and(|deadline| now >= deadline);
        let end = state.control.poll_end(now, tally).filter(|_| self.unsent.is_empty() || is_late);
        drop(state);
        if let Some(end) = end {
            link.close(end.code, end.reason);
        }
        let stall = self.stall_deadline(now, &link.config);
        if stall.is_some_and(|stall| now >= stall) {
            link.end_with(SessionEnd::TimedOut { which: Timeout::WriteStall }, b"");
        }
        deadline.into_iter().chain(stall).min()
    }

    /// Until when the peer has to take something of what waits.
    fn stall_deadline(&mut self, now: Instant, config: &Config) -> Option<Instant> {
        if self.unsent.is_empty() {
            self.stalled = None;
            return None;
        }
        self.stalled.get_or_insert(now).checked_add(config.write_stall_timeout)
    }

    fn wants_stream(&self) -> bool {
        self.send.is_none() && !self.unsent.is_empty()
    }

    fn receive(&mut self, link: &Link, chunk: Result<Option<Chunk>, ReadError>) {
        let Ok(Some(chunk)) = chunk else {
            // The control stream lives as long as the session.
            link.violate(Violation::UnexpectedFrame);
            return;
        };
        let mut state = link.state();
        let before = (state.control.last_pong(), state.control.their_drain());
        let others = state.control.receive(now(), &chunk.bytes);
        let after = (state.control.last_pong(), state.control.their_drain());
        drop(state);
        link.watch.control_changed(before, after);
        match others {
            Ok(others) if others.is_empty() => {
                link.draining.notify_waiters();
                link.pongs.notify_waiters();
            }
            Ok(_) => link.violate(Violation::UnexpectedFrame),
            Err(violation) => link.violate(violation),
        }
    }

    fn wrote(&mut self, link: &Link, written: Result<usize, WriteError>) {
        match written {
            Ok(octets) => {
                self.unsent.advance(octets);
                self.stalled = None;
            }
            Err(_) => link.violate(Violation::UnexpectedFrame),
        }
    }
}

async fn read(stream: &mut Option<RecvStream>) -> Result<Option<Chunk>, ReadError> {
    match stream {
        Some(stream) => stream.read_chunk(usize::MAX, true).await,
        None => pending().await,
    }
}

async fn write(stream: &mut Option<SendStream>, octets: &[u8]) -> Result<usize, WriteError> {
    match stream {
        Some(stream) => stream.write(octets).await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// Ends the session when the driver is dropped before its time.
struct Dropped {
    link: Arc<Link>,
    is_over: bool,
}

impl Dropped {
    fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.end_with(SessionEnd::DriverDropped, b"");
        }
    }
}
