//! Moves a session along: owns everything of HTTP/2.

use super::cell::{Cell, News};
use super::connection::{limits, poll_ask};
use super::control::ControlStream;
use super::dialect::{Asked, Connection, Exchange, LinkError, Opener, ReceiveHalf, Reply};
use super::heads::{HeadError, Purpose, head, reset_number, response};
use super::incoming::IncomingStream;
use super::lane::{Lane, Receive, Sender, TakenUp, Turn};
use super::shared::{CONNECTION, INVITATIONS, Life, Places, SESSION, Shared, Signal, now};
use super::tap::Tap;
use super::{Incoming, Session};
use crate::budget::Bucket;
use crate::{Abuse, Config, Driver, Origin, Role, SessionEnd, StreamError, Timeout, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, FrameError, FrameKind, Hello, MAX_HEAD_BYTES, VersionRange};
use bytes::Bytes;
use h2::Reason;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

/// The protocol that both sides name in their TLS handshake: none that a web server speaks.
pub const ALPN: &[u8] = b"adit-h2/1";

/// Starts a session over `io`: the dialler, which an agent is, as HTTP/2's server, the listener as its client.
///
/// Nothing happens until the [`Driver`] is polled: spawn it. Set TCP_NODELAY on a TCP socket. Of `config`, the limits
/// of streams, heads, datagrams, drain and silence hold here; a stream's window is [`Config::max_window`], at most
/// 1 MiB, from the start, so a peer can make this side hold that for each stream that it may open.
pub fn start<T>(role: Role, io: T, config: &Config) -> (crate::Session, crate::Incoming, Driver)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let shared = Shared::new(role, config.clone(), now());
    let life = Arc::new(Life { shared: Arc::clone(&shared) });
    let driver = Driver::of(drive(role, Box::pin(io), shared));
    (crate::Session::h2(Session::new(Arc::clone(&life))), crate::Incoming::h2(Incoming::new(life)), driver)
}

async fn drive<T>(role: Role, io: Pin<Box<T>>, shared: Arc<Shared>) -> SessionEnd
where
    T: AsyncRead + AsyncWrite + Send,
{
    let guard = Guard(Arc::clone(&shared));
    let io = Tap::new(io, Arc::clone(&shared));
    let limits = limits(role, &shared.config);
    let handshake = async {
        match role {
            Role::Dialler => Connection::server(io, &limits).await,
            Role::Listener => Connection::client(io, &limits).await,
        }
    };
    let connection = match tokio::time::timeout(shared.config.handshake_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            shared.finish(end_of(&error));
            return shared.end().unwrap_or(SessionEnd::Cut);
        }
        Err(_) => {
            shared.finish(SessionEnd::TimedOut { which: Timeout::Handshake });
            return shared.end().unwrap_or(SessionEnd::Cut);
        }
    };
    let mut engine = Engine::new(connection, Arc::clone(&shared));
    let end = poll_fn(|task| engine.poll(task)).await;
    drop((engine, guard));
    end
}

/// Ends the session when the driver is dropped before its time.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.finish(SessionEnd::DriverDropped);
        // Opened and never taken up.
        let opens = std::mem::take(&mut self.0.state().opens);
        fail_all(opens.iter().map(|(cell, _)| cell), &self.0);
    }
}

struct Engine<T> {
    shared: Arc<Shared>,
    connection: Connection<T>,
    /// The gateway's, while the peer's settings don't let it ask, and then.
    opener: Option<Opener>,
    asking: Option<Opener>,
    /// Wakes the driver for the connection, for the session, and for invitations that are given up.
    wakers: [Waker; 3],
    control: ControlStream,
    /// Every stream, and on the gateway every invitation.
    lanes: Slab<Lane>,
    /// Where the stream of an id is.
    places: HashMap<u32, usize>,
    /// The agent's: requests that it may answer with streams of its own; at most [`MOST_INVITATIONS`].
    invited: VecDeque<(Reply, ReceiveHalf)>,
    /// The gateway's: invitations not taken up.
    invitations: usize,
    opened: usize,
    accepted: usize,
    /// How many streams the peer grants at a time, once its HELLO came.
    granted: Option<usize>,
    has_greeted: bool,
    stops: VecDeque<(u32, CloseCode)>,
    /// Streams of the peer whose answer waits until the application had its turn.
    fresh: Vec<usize>,
    /// Room for what is ready.
    news: Places,
    /// Whether the deadline may be another than the timer's.
    is_time_due: bool,
    /// Streams that had to be refused.
    resets: Bucket,
    /// Streams that the peer gave up as soon as it had opened them.
    rapid_resets: Bucket,
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
    closing: Option<Instant>,
}

/// When what happened last.
struct Clock {
    started: Instant,
    /// Octets received at the last look, and when they came.
    received: (u64, Instant),
    /// The connection, and the control stream, whose window may be closed while the others' are open.
    connection: Stall,
    control: Stall,
}

/// Since when output waits without progress, and how many octets had left by then.
#[derive(Default)]
struct Stall(Option<(Instant, u64)>);

impl Clock {
    const fn is_stalled(&self) -> bool {
        self.connection.0.is_some() || self.control.0.is_some()
    }
}

impl Stall {
    /// Since when nothing of what waits has left.
    fn since(&mut self, is_blocked: bool, sent: u64, now: Instant) -> Option<Instant> {
        self.0 = match self.0 {
            _ if !is_blocked => None,
            Some((since, before)) if before == sent => Some((since, before)),
            Some(_) | None => Some((now, sent)),
        };
        self.0.map(|(since, _)| since)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Engine<T> {
    fn new(connection: Connection<T>, shared: Arc<Shared>) -> Self {
        let started = now();
        let signal = |place| Waker::from(Arc::new(Signal { shared: Arc::clone(&shared), place }));
        let wakers = [signal(CONNECTION), signal(SESSION), signal(INVITATIONS)];
        shared.ready.push(CONNECTION);
        shared.ready.push(SESSION);
        let resets = Bucket::new(shared.config.forced_resets, started);
        let rapid_resets = Bucket::new(shared.config.rapid_resets, started);
        Self {
            shared,
            opener: connection.opener(),
            asking: None,
            connection,
            wakers,
            control: ControlStream::new(),
            lanes: Slab::new(),
            places: HashMap::new(),
            invited: VecDeque::new(),
            invitations: 0,
            opened: 0,
            accepted: 0,
            granted: None,
            has_greeted: false,
            stops: VecDeque::new(),
            fresh: Vec::new(),
            news: Places::default(),
            is_time_due: true,
            resets,
            rapid_resets,
            clock: Clock {
                started,
                received: (0, started),
                connection: Stall::default(),
                control: Stall::default(),
            },
            sleep: None,
            closing: None,
        }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<SessionEnd> {
        // What was read is passed on, and what was written leaves. More waits until others had their turn: what they write
        // meanwhile leaves with it.
        const ROUNDS: usize = 2;
        for place in std::mem::take(&mut self.fresh) {
            self.turn(place, News::DUE);
        }
        for round in 0..=ROUNDS {
            let mut news = std::mem::take(&mut self.news);
            if news.is_empty() {
                self.shared.ready.take(&mut news, task.waker());
            }
            if news.is_empty() {
                self.news = news;
                if !self.fresh.is_empty() {
                    task.waker().wake_by_ref();
                }
                return self.poll_time(task);
            }
            if round == ROUNDS {
                self.news = news;
                break;
            }
            if std::mem::take(&mut news.opens) {
                self.poll_opens();
            }
            for place in news.places.drain(..) {
                self.turn(place, News::NONE);
            }
            let (connection, session) =
                (std::mem::take(&mut news.connection), std::mem::take(&mut news.session));
            let invitations = std::mem::take(&mut news.invitations);
            self.news = news;
            if connection {
                self.poll_connection();
            }
            if invitations {
                self.poll_given_up();
            }
            if session {
                self.is_time_due = true;
                self.turn_what_came();
                self.poll_session();
                if let Some(end) = self.poll_end() {
                    return Poll::Ready(end);
                }
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks at the streams that became ready by the last read: a STOP behind it on the control stream may name one of them,
    /// and whoever reads in the order of HTTP/2's frames knows it then (SPEC 15.3 rule 4).
    fn turn_what_came(&mut self) {
        if !self.news.is_empty() {
            return;
        }
        let mut news = std::mem::take(&mut self.news);
        self.shared.ready.swap(&mut news);
        for place in news.places.drain(..) {
            self.turn(place, News::NONE);
        }
        self.news = news;
    }

    /// Looks at one stream, of which there may be more news than its cell knows of.
    fn turn(&mut self, place: usize, news: News) {
        let Some(lane) = self.lanes.get_mut(place) else { return };
        match lane.turn(news) {
            Turn::Nothing => {}
            Turn::TakenUp(answer) => self.take_up(place, answer),
            Turn::Stop(code) => {
                let id = lane.id();
                self.stops.push_back((id, code));
                if self.stops.len() > self.lanes.len().saturating_mul(2) {
                    // The peer doesn't have to be told of those that are over.
                    self.stops.retain(|(id, _)| self.places.contains_key(id));
                }
                self.shared.watch.stopped(Origin::Local, id, code);
                self.shared.ready.push(SESSION);
            }
            Turn::LeftAtOnce => self.left_at_once(),
        }
        self.free_if_over(place);
    }

    /// A stream of the peer was given up as soon as it was opened.
    fn left_at_once(&mut self) {
        if !self.rapid_resets.take(now()) {
            let what = Abuse::RapidResets;
            self.shared.finish(SessionEnd::Violation(Violation::Budget { what }));
        }
    }

    fn free_if_over(&mut self, place: usize) {
        let Some(lane) = self.lanes.get(place).filter(|lane| lane.is_over()) else { return };
        let (id, is_local) = (lane.id(), lane.is_local);
        if !lane.cell.is_decided() && self.places.contains_key(&id) {
            return;
        }
        self.lanes.remove(place);
        if self.places.remove(&id).is_none() {
            // An invitation that came to nothing. Another takes its place, which an agent must not have without end.
            self.invitations = self.invitations.saturating_sub(1);
            if let Err(violation) = self.turned_away() {
                self.shared.finish(SessionEnd::Violation(violation));
            }
            return self.shared.ready.push(SESSION);
        }
        let count = if is_local { &mut self.opened } else { &mut self.accepted };
        *count = count.saturating_sub(1);
        self.shared.watch.stream_closed(Origin::local_if(is_local));
        let mut state = self.shared.state();
        state.tally.open = state.tally.open.saturating_sub(1);
        let is_draining = state.control.is_draining();
        drop(state);
        if is_draining || (self.connection.is_client() && self.invitations < SPARE_INVITATIONS) {
            self.shared.ready.push(SESSION);
        } else {
            self.grant();
        }
    }

    /// Reads and writes the connection; takes the requests of the peer.
    fn poll_connection(&mut self) {
        let waker = self.wakers[0].clone();
        let mut task = Context::from_waker(&waker);
        loop {
            match self.connection.poll_accept(&mut task) {
                Poll::Ready(Some(Ok(asked))) => {
                    if let Err(violation) = self.asked(asked) {
                        return self.shared.finish(SessionEnd::Violation(violation));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.closing = Some(self.clock.started);
                    return self.shared.finish(end_of(&error));
                }
                Poll::Ready(None) => {
                    self.closing = Some(self.clock.started);
                    return self.shared.finish(SessionEnd::Cut);
                }
                Poll::Pending => break,
            }
        }
        for _ in 0..self.connection.take_pathless() {
            if let Err(violation) = self.turned_away() {
                return self.shared.finish(SessionEnd::Violation(violation));
            }
        }
        if let Some(opener) = self.opener.take_if(|opener| opener.is_extended_connect_taken()) {
            self.asking = Some(opener);
            self.shared.ready.push(SESSION);
        }
    }

    /// A request of the gateway.
    fn asked(&mut self, asked: Asked) -> Result<(), Violation> {
        let purpose = Purpose::of(asked.protocol(), asked.head());
        if purpose != Some(Purpose::Control) && !self.control.is_open() && purpose.is_some() {
            return Err(Violation::HelloExpected);
        }
        match purpose {
            None => {
                asked.reset(Reason::PROTOCOL_ERROR.into());
                return self.turned_away();
            }
            Some(Purpose::Control) if self.control.is_open() => return Err(Violation::SecondHello),
            Some(Purpose::Control) => {
                let Ok(answered) = asked.answer(response(None)) else { return self.turned_away() };
                self.control.answer(answered.send, answered.receive);
                self.shared.ready.push(SESSION);
            }
            Some(Purpose::Stream) => return self.asked_stream(asked),
            Some(Purpose::Invitation) => return self.invite(asked),
        }
        Ok(())
    }

    /// An invitation of the gateway.
    fn invite(&mut self, asked: Asked) -> Result<(), Violation> {
        if self.invited.len() >= MOST_INVITATIONS {
            self.poll_given_up();
        }
        if self.invited.len() >= MOST_INVITATIONS {
            asked.reset(reset_number(CloseCode::REFUSED));
            return self.turned_away();
        }
        let (_, reply, receive) = asked.into_parts();
        self.invited.push_back((reply, receive));
        self.shared.ready.push(INVITATIONS);
        Ok(())
    }

    /// A stream of the gateway.
    fn asked_stream(&mut self, asked: Asked) -> Result<(), Violation> {
        let head = match head(asked.head().headers()) {
            Ok(head) => head,
            Err(HeadError::Malformed) => {
                asked.reset(reset_number(CloseCode::MALFORMED));
                return self.turned_away();
            }
            Err(HeadError::TooLarge { length }) => return Err(head_too_large(length)),
        };
        if !self.may_accept() {
            let (_, mut reply, _body) = asked.into_parts();
            if reply.poll_given_up(&mut Context::from_waker(Waker::noop())).is_ready() {
                self.left_at_once();
                return Ok(());
            }
            reply.reset(reset_number(CloseCode::REFUSED));
            return self.turned_away();
        }
        let (_, mut reply, receive) = asked.into_parts();
        if reply.poll_given_up(&mut Context::from_waker(Waker::noop())).is_ready() {
            // It was reset before it was looked at.
            self.left_at_once();
        } else {
            self.begin_incoming(reply, receive, head);
        }
        Ok(())
    }

    /// Looks after the invitations: those that the gateway gave up make room for others.
    fn poll_given_up(&mut self) {
        let waker = self.wakers[2].clone();
        let mut task = Context::from_waker(&waker);
        let before = self.invited.len();
        self.invited.retain_mut(|(reply, _)| reply.poll_given_up(&mut task).is_pending());
        for _ in self.invited.len()..before {
            if let Err(violation) = self.turned_away() {
                return self.shared.finish(SessionEnd::Violation(violation));
            }
        }
        self.shared.ready.push(SESSION);
    }

    /// The agent makes a stream of an invitation.
    fn take_up(&mut self, place: usize, (answer, body): TakenUp) {
        let may_accept = self.may_accept();
        let Some(lane) = self.lanes.get_mut(place) else { return };
        let id = lane.id();
        let refusal = match (answer.status(), head(answer.headers())) {
            (http::StatusCode::OK, Ok(head)) if may_accept => {
                self.invitations = self.invitations.saturating_sub(1);
                lane.receive = Receive::Body(body);
                self.places.insert(id, place);
                let cell = Arc::clone(&lane.cell);
                // Another invitation takes its place.
                self.shared.ready.push(SESSION);
                self.announce(Arc::clone(&cell), head, id);
                return cell.tell(News::ALL);
            }
            (_, Err(HeadError::TooLarge { length })) => {
                return self.shared.finish(SessionEnd::Violation(head_too_large(length)));
            }
            (http::StatusCode::OK, Ok(_)) => CloseCode::REFUSED,
            (_, Ok(_) | Err(HeadError::Malformed)) => CloseCode::MALFORMED,
        };
        // As an invitation that came to nothing it is charged when it is freed.
        lane.refuse(refusal);
    }

    fn may_accept(&self) -> bool {
        self.accepted < usize::try_from(self.shared.config.max_peer_streams).unwrap_or(usize::MAX)
    }

    /// A stream had to be refused for what the peer does.
    fn turned_away(&mut self) -> Result<(), Violation> {
        let is_allowed = self.resets.take(now());
        is_allowed.then_some(()).ok_or(Violation::Budget { what: Abuse::ForcedResets })
    }

    fn begin_incoming(&mut self, reply: Reply, body: ReceiveHalf, head: Bytes) {
        let cell = Cell::new(Arc::clone(&self.shared), false);
        let id = reply.id();
        let lane = Lane::new(id, Arc::clone(&cell), Sender::Reply(reply), Receive::Body(body), false);
        let place = self.lanes.insert(lane);
        cell.settle(place, id);
        self.places.insert(id, place);
        self.announce(cell, head, id);
        self.fresh.push(place);
        self.turn(place, News::ALL);
    }

    /// A stream of the peer begins.
    fn announce(&mut self, cell: Arc<Cell>, head: Bytes, id: u32) {
        self.accepted = self.accepted.saturating_add(1);
        self.shared.counters.streams_accepted.fetch_add(1, Ordering::Relaxed);
        self.shared.watch.stream_opened(Origin::Peer);
        let stream = IncomingStream::new(Arc::clone(&cell), head);
        let mut state = self.shared.state();
        state.tally.open = state.tally.open.saturating_add(1);
        state.tally.accepted = state.tally.accepted.max(id);
        let (mut refused, mut acceptor) = (None, None);
        if state.refuses_incoming {
            refused = Some(stream);
        } else {
            state.incoming.push_back(stream);
            acceptor = state.acceptor.take();
        }
        let is_awaited = state.control.is_draining();
        drop(state);
        if refused.take().is_some()
            && let Err(violation) = self.turned_away()
        {
            self.shared.finish(SessionEnd::Violation(violation));
        }
        acceptor.into_iter().for_each(Waker::wake);
        if is_awaited {
            self.shared.ready.push(SESSION);
        }
    }

    /// Everything that concerns no single stream.
    fn poll_session(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let waker = self.wakers[1].clone();
        let mut task = Context::from_waker(&waker);
        self.poll_opens();
        while let Poll::Ready(octets) = self.control.poll_receive(&mut task) {
            let received = octets.ok_or(Violation::UnexpectedFrame).and_then(|octets| self.receive(&octets));
            if let Err(violation) = received {
                self.shared.finish(SessionEnd::Violation(violation));
                break;
            }
        }
        self.poll_invitations(&mut task);
        self.grant();
        self.send_frames();
        self.control.poll_send(&mut task);
    }

    /// Opens what the application asked for.
    fn poll_opens(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let waker = self.wakers[1].clone();
        let task = &mut Context::from_waker(&waker);
        loop {
            let mut state = self.shared.state();
            let Some((cell, head)) = state.opens.pop_front() else { return };
            drop(state);
            let (send, receive) = if self.connection.is_client() {
                match poll_ask(self.asking.as_mut(), task, Purpose::Stream, Some(&head)) {
                    Poll::Ready(Some(Exchange { send, answer })) => (send, Receive::Answer(answer)),
                    Poll::Ready(None) => {
                        self.lose(&cell);
                        continue;
                    }
                    Poll::Pending => {
                        self.shared.state().opens.push_front((cell, head));
                        return;
                    }
                }
            } else {
                let Some((reply, body)) = self.invited.pop_front() else {
                    // The gateway gave up the one that was for this stream.
                    let mut state = self.shared.state();
                    if !state.control.is_draining() {
                        return state.opens.push_front((cell, head));
                    }
                    drop(state);
                    self.lose(&cell);
                    continue;
                };
                let Ok(send) = reply.answer(response(Some(&head))) else {
                    self.shared.state().opens.push_front((cell, head));
                    continue;
                };
                (send, Receive::Body(body))
            };
            let id = send.id();
            self.note_id(id);
            let lane = Lane::new(id, Arc::clone(&cell), Sender::Half(send), receive, true);
            let place = self.lanes.insert(lane);
            cell.settle(place, id);
            self.places.insert(id, place);
            self.opened = self.opened.saturating_add(1);
            let mut state = self.shared.state();
            state.tally.opened = state.tally.opened.max(id);
            drop(state);
            self.turn(place, News::ALL);
        }
    }

    /// Ids are never used twice: the session makes room for a new one long before they run out.
    fn note_id(&self, id: u32) {
        if id >= LAST_ID {
            self.shared.drain(CloseCode::DRAINING, Bytes::new(), now());
        }
    }

    /// A stream that the peer can't have seen.
    fn lose(&self, cell: &Cell) {
        cell.fail(&StreamError::Refused);
        let mut state = self.shared.state();
        state.tally.open = state.tally.open.saturating_sub(1);
    }

    /// The gateway opens the control stream, and invites the agent to streams of its own.
    fn poll_invitations(&mut self, task: &mut Context<'_>) {
        if !self.control.is_open()
            && let Poll::Ready(Some(asked)) = poll_ask(self.asking.as_mut(), task, Purpose::Control, None)
        {
            self.control.ask(asked.send, asked.answer);
            self.shared.ready.push(SESSION);
        }
        let most = usize::try_from(self.shared.config.max_peer_streams).unwrap_or(usize::MAX);
        while self.control.is_open()
            && self.invitations < SPARE_INVITATIONS.min(most.saturating_sub(self.accepted))
        {
            let asked = poll_ask(self.asking.as_mut(), task, Purpose::Invitation, None);
            let Poll::Ready(Some(Exchange { send, answer })) = asked else { return };
            let (cell, id) = (Cell::new(Arc::clone(&self.shared), false), send.id());
            self.note_id(id);
            let lane =
                Lane::new(id, Arc::clone(&cell), Sender::Half(send), Receive::Invitation(answer), false);
            let place = self.lanes.insert(lane);
            cell.settle(place, id);
            self.invitations = self.invitations.saturating_add(1);
            cell.tell(News::ALL);
        }
    }

    /// Says how many streams may be opened now.
    fn grant(&self) {
        let Some(granted) = self.granted else { return };
        let mut state = self.shared.state();
        let waiting = state.opens.len();
        let mut openable = granted.saturating_sub(self.opened.saturating_add(waiting));
        if !self.connection.is_client() {
            openable = openable.min(self.invited.len().saturating_sub(waiting));
        }
        let has_more = openable > state.openable;
        state.openable = openable;
        drop(state);
        if has_more {
            self.shared.openers.notify_one();
        }
    }

    /// Frames of the peer's control stream.
    fn receive(&mut self, octets: &[u8]) -> Result<(), Violation> {
        let mut state = self.shared.state();
        let before = (state.control.last_pong(), state.control.their_drain());
        let others = state.control.receive(now(), octets);
        let after = (state.control.last_pong(), state.control.their_drain());
        drop(state);
        self.shared.watch.control_changed(before, after);
        let others = others?;
        self.shared.pongs.notify_waiters();
        if self.shared.state().control.is_draining() {
            self.shared.openers.notify_waiters();
            self.shared.openers.notify_one();
        }
        for frame in others {
            match (frame, self.granted) {
                (Frame::Hello(hello), None) => self.greeted(&hello)?,
                (Frame::Hello(_), Some(_)) => return Err(Violation::SecondHello),
                (_, None) => return Err(Violation::HelloExpected),
                (Frame::Stop { id, code }, Some(_)) => self.stopped(id, code),
                (Frame::Datagram { flow, payload }, Some(_)) => self.receive_datagram(flow, payload)?,
                (Frame::Close { code, reason }, Some(_)) => {
                    self.closing = Some(self.clock.started);
                    self.shared.finish(SessionEnd::Peer { code, reason });
                }
                (_, Some(_)) => return Err(Violation::UnexpectedFrame),
            }
        }
        Ok(())
    }

    fn greeted(&mut self, hello: &Hello) -> Result<(), Violation> {
        if VersionRange::OURS.common(hello.versions).is_none() {
            return Err(Violation::NoCommonVersion);
        }
        self.shared.watch.connected();
        self.granted = Some(usize::try_from(hello.max_streams).unwrap_or(usize::MAX));
        self.shared.state().max_datagram = self.shared.config.datagram_limit(hello);
        Ok(())
    }

    /// The peer wants no more of a stream. One that is over doesn't care.
    fn stopped(&mut self, id: u32, code: CloseCode) {
        self.shared.counters.stops_received.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.places.get(&id).copied() else { return };
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.stopped(code);
            self.free_if_over(place);
        }
    }

    fn receive_datagram(&self, flow: u32, payload: Bytes) -> Result<(), Violation> {
        let limit = self.shared.config.max_datagram;
        if payload.len() > usize::from(limit) || limit == 0 {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            return Err(Violation::DatagramTooLarge { length, limit });
        }
        let mut state = self.shared.state();
        let most = self.shared.config.datagram_queue;
        let dropped = state.incoming_datagrams.push(now(), flow, payload, most);
        drop(state);
        self.shared.counters.datagrams_received.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.datagrams_dropped.fetch_add(dropped, Ordering::Relaxed);
        self.shared.datagrams.notify_one();
        Ok(())
    }

    /// Puts what is due on the control stream.
    fn send_frames(&mut self) {
        if !self.control.is_open() {
            return;
        }
        if !self.has_greeted {
            self.has_greeted = true;
            self.control.push(&Frame::Hello(self.shared.config.hello()));
        }
        // While the peer takes nothing here, what it provokes must not pile up.
        let is_clear = self.control.is_sent();
        while is_clear && let Some((id, code)) = self.stops.pop_front() {
            self.control.push(&Frame::Stop { id, code });
        }
        if self.granted.is_none() {
            return;
        }
        let now = now();
        let mut state = self.shared.state();
        let tally = state.tally;
        while is_clear && let Some(frame) = state.control.poll_frame(now, tally) {
            self.control.push(&frame);
        }
        while is_clear && let Some((since, flow, payload)) = state.outgoing_datagrams.pop() {
            if now.saturating_duration_since(since) > self.shared.config.datagram_age {
                self.shared.counters.datagrams_dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.control.push(&Frame::Datagram { flow, payload });
        }
        let end = state.control.poll_end(now, tally);
        drop(state);
        if let Some(end) = end {
            self.shared.close(end.code, end.reason);
        }
    }

    /// Whether the session is over and the peer was told so, or has said so itself.
    fn poll_end(&mut self) -> Option<SessionEnd> {
        let end = self.shared.end()?;
        if self.closing.is_none() {
            let close = self.shared.state().close.take();
            let (code, reason) = close.unwrap_or_else(|| (end.close_code(), Bytes::new()));
            self.closing = now().checked_add(LINGER);
            self.fail_lanes();
            self.control.push(&Frame::Close { code, reason });
            let waker = self.wakers[1].clone();
            self.control.poll_send(&mut Context::from_waker(&waker));
            self.shared.ready.push(CONNECTION);
            return None;
        }
        let is_late = self.closing.is_none_or(|until| now() >= until);
        let waker = self.wakers[1].clone();
        self.control.poll_send(&mut Context::from_waker(&waker));
        is_late.then_some(end)
    }

    fn fail_lanes(&self) {
        fail_all(self.lanes.iter().map(|(_, lane)| &lane.cell), &self.shared);
    }

    /// Waits until something is due by the clock.
    fn poll_time(&mut self, task: &mut Context<'_>) -> Poll<SessionEnd> {
        let is_running = self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed());
        let is_blocked = self.shared.meter.is_blocked() || !self.control.is_sent() || self.clock.is_stalled();
        if is_running && !is_blocked && !std::mem::take(&mut self.is_time_due) {
            return Poll::Pending;
        }
        loop {
            if self.shared.end().is_some()
                && let Some(end) = self.poll_end()
            {
                return Poll::Ready(end);
            }
            let deadline = match self.next_deadline() {
                Ok(deadline) => deadline,
                Err(which) => {
                    self.shared.finish(SessionEnd::TimedOut { which });
                    continue;
                }
            };
            let deadline = tokio::time::Instant::from_std(deadline);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if sleep.deadline() > deadline || sleep.is_elapsed() {
                sleep.as_mut().reset(deadline);
            }
            if sleep.as_mut().poll(task).is_ready() {
                // Wakes this task, whose waker is with what is ready.
                self.shared.ready.push(SESSION);
            }
            return Poll::Pending;
        }
    }

    /// When to look next; the limit that has passed, if one has.
    fn next_deadline(&mut self) -> Result<Instant, Timeout> {
        let (now, config) = (now(), &self.shared.config);
        if let Some(until) = self.closing {
            return Ok(until.max(now));
        }
        let received = self.shared.meter.received();
        if received != self.clock.received.0 {
            self.clock.received = (received, now);
        }
        let silent_since = self.clock.received.1;
        let later = |from: Instant, by: Duration| from.checked_add(by).unwrap_or(now);
        if self.granted.is_none() {
            let until = later(self.clock.started, config.handshake_timeout);
            return if now >= until { Err(Timeout::Handshake) } else { Ok(until) };
        }
        let dead = later(silent_since, config.keepalive.saturating_add(config.ping_timeout));
        if now >= dead {
            return Err(Timeout::Silence);
        }
        let mut next = dead;
        let ping = later(silent_since, config.keepalive);
        if now < ping {
            next = next.min(ping);
        } else if !self.shared.state().control.is_pinging() {
            self.shared.state().control.ping();
            self.shared.ready.push(SESSION);
        }
        let meter = &self.shared.meter;
        let connection = self.clock.connection.since(meter.is_blocked(), meter.sent(), now);
        let control = self.clock.control.since(!self.control.is_sent(), self.control.sent(), now);
        for since in connection.into_iter().chain(control) {
            let until = later(since, config.write_stall_timeout);
            if now >= until {
                return Err(Timeout::WriteStall);
            }
            next = next.min(until);
        }
        let drain = self.shared.state().control.deadline();
        Ok(drain.map_or(next, |drain| next.min(drain.max(now))))
    }
}

impl<T> Drop for Engine<T> {
    fn drop(&mut self) {
        self.shared.finish(SessionEnd::DriverDropped);
        fail_all(self.lanes.iter().map(|(_, lane)| &lane.cell), &self.shared);
    }
}

/// Tells streams that their session ended.
fn fail_all<'a>(cells: impl Iterator<Item = &'a Arc<Cell>>, shared: &Shared) {
    let error = StreamError::Session(shared.end().unwrap_or(SessionEnd::Cut));
    cells.for_each(|cell| cell.fail(&error));
}

fn end_of(error: &LinkError) -> SessionEnd {
    match error {
        LinkError::Io { kind: std::io::ErrorKind::UnexpectedEof } => SessionEnd::Cut,
        LinkError::Io { kind } => SessionEnd::Io { kind: *kind },
        // Only a peer that floods makes HTTP/2 itself say so.
        LinkError::GoneAway { code, by: Origin::Local } | LinkError::Reset { code, by: Origin::Local }
            if Reason::from(*code) == Reason::ENHANCE_YOUR_CALM =>
        {
            SessionEnd::Violation(Violation::Budget { what: Abuse::UselessFrames })
        }
        LinkError::GoneAway { code, .. } | LinkError::Reset { code, .. } => {
            SessionEnd::Carrier { code: u64::from(*code) }
        }
        LinkError::NotOffered | LinkError::Misplaced | LinkError::TimedOut => SessionEnd::Cut,
    }
}

const fn head_too_large(length: u16) -> Violation {
    Violation::Frame(FrameError::TooLarge { kind: FrameKind::OPEN, length, limit: MAX_HEAD_BYTES })
}

/// Invitations that an agent keeps; more are refused.
const MOST_INVITATIONS: usize = 64;
/// Three quarters of HTTP/2's ids (`SPEC.md` section 3.4), of which the gateway's invitations take their share.
const LAST_ID: u32 = 0x6000_0000;
/// Invitations that a gateway keeps open ahead of use.
const SPARE_INVITATIONS: usize = 4;
/// How long the peer may take to close a connection after CLOSE.
const LINGER: Duration = Duration::from_secs(1);
