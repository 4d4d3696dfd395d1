//! The one under test, frame by frame. Whatever the script, some rules are watched all the time: the form of frames,
//! their order, and our own credit.

use super::player::Failure;
use super::wire::{self, Received};
use crate::io::Io;
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Conduct, Dialled, Frame, Hello, VersionRange};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long a peer may take for each thing that is expected of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same in scripts that wait for a limit of time: the longest limit is 15 s of silence and 20 s after a PING.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// Frames that no step has asked for yet; more end the script.
const MAX_BACKLOG: usize = 10_000;

/// A connection to the one under test.
pub(super) struct Peer {
    io: Box<dyn Io>,
    input: BytesMut,
    conduct: Conduct,
    backlog: Vec<Received>,
    hello: Option<Hello>,
    /// What the peer lets us send, by stream.
    limits: HashMap<u32, u64>,
    /// How many streams the peer lets us open.
    streams: u64,
    /// What we let the peer send, by stream; our HELLO's window where there is nothing.
    granted: HashMap<u32, u64>,
    window: u64,
    inbox: HashMap<u32, Inbox>,
    patience: Duration,
    /// Whether the peer's PINGs stay without answer.
    is_mute: bool,
    /// What we sent of a frame that isn't whole yet.
    noted: BytesMut,
    /// A CLOSE that came while nobody asked for it.
    closed: Option<CloseCode>,
}

/// What came on one stream.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) octets: BytesMut,
    pub(super) is_ended: bool,
    received: u64,
}

/// What comes next from the peer.
pub(super) enum Next {
    Frame(Received),
    Close(CloseCode),
    End,
}

impl Peer {
    pub(super) fn new(io: Box<dyn Io>, dialled: Dialled) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            conduct: Conduct::of(dialled, VersionRange::OURS),
            backlog: Vec::new(),
            hello: None,
            limits: HashMap::new(),
            streams: 0,
            granted: HashMap::new(),
            window: 0,
            inbox: HashMap::new(),
            patience: PATIENCE,
            is_mute: false,
            noted: BytesMut::new(),
            closed: None,
        }
    }

    /// Waits as long as limits of time need.
    pub(super) const fn be_patient(&mut self) {
        self.patience = LONG_PATIENCE;
    }

    /// Answers no PING from now on.
    pub(super) const fn be_mute(&mut self) {
        self.is_mute = true;
    }

    /// Sends octets one by one, `pause` apart, as long as the peer lets us.
    pub(super) async fn drip(&mut self, octets: &[u8], pause: Duration) -> Result<(), Failure> {
        for octet in octets {
            self.send(&[*octet]).await;
            match timeout(pause, self.read()).await {
                Err(_) => {}
                Ok(next) => match next? {
                    Next::Frame(frame) => self.keep(frame)?,
                    Next::Close(code) => {
                        self.closed = Some(code);
                        return Ok(());
                    }
                    Next::End => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// Sends octets as they are. That the peer has ended meanwhile shows in what it says.
    pub(super) async fn send(&mut self, octets: &[u8]) {
        self.note(octets);
        let write = async {
            self.io.write_all(octets).await?;
            self.io.flush().await
        };
        // A peer that has closed can't be written to, and what it said first is still there to be read.
        let _ = timeout(PATIENCE, write).await;
    }

    /// The next frame that no step has taken. A CLOSE is one of its own kind.
    pub(super) async fn next(&mut self) -> Result<Next, Failure> {
        let failed = |what: &str| Failure::new("13", what);
        timeout(self.patience, self.read()).await.map_err(|_| failed("nothing came in time"))?
    }

    /// The first frame that `is_it` finds right; those before it are kept for other steps.
    pub(super) async fn find(&mut self, is_it: impl Fn(&Received) -> bool) -> Result<Received, Failure> {
        if let Some(at) = self.backlog.iter().position(&is_it) {
            return Ok(self.backlog.remove(at));
        }
        let patience = self.patience;
        let search = async {
            loop {
                match self.read().await? {
                    Next::Frame(frame) if is_it(&frame) => return Ok(frame),
                    Next::Frame(frame) => self.keep(frame)?,
                    Next::Close(code) => {
                        return Err(Failure::new("3.7", format!("the session was closed with {code}")));
                    }
                    Next::End => return Err(Failure::new("3.7", "the connection ended")),
                }
            }
        };
        timeout(patience, search)
            .await
            .map_err(|_| Failure::new("13", "the expected frame did not come in time"))?
    }

    /// Waits until `is_enough` of what came on `id`; gives it, and forgets it.
    pub(super) async fn inbox(
        &mut self,
        id: u32,
        is_enough: impl Fn(&Inbox) -> bool,
    ) -> Result<&mut Inbox, Failure> {
        let patience = self.patience;
        let wait = async {
            while !is_enough(self.inbox.entry(id).or_default()) {
                match self.read().await? {
                    Next::Frame(frame) => self.keep(frame)?,
                    Next::Close(code) => {
                        return Err(Failure::new("3.7", format!("the session was closed with {code}")));
                    }
                    Next::End => return Err(Failure::new("3.7", "the connection ended")),
                }
            }
            Ok(())
        };
        timeout(patience, wait)
            .await
            .map_err(|_| Failure::new("13", "the expected octets did not come in time"))??;
        Ok(self.inbox.entry(id).or_default())
    }

    /// Keeps what is there to be read within `time`, and whether there was anything.
    pub(super) async fn listen(&mut self, time: Duration) -> Result<bool, Failure> {
        match timeout(time, self.read()).await {
            Err(_) => Ok(false),
            Ok(next) => match next? {
                Next::Frame(frame) => self.keep(frame).map(|()| true),
                Next::Close(code) => Err(Failure::new("3.7", format!("the session was closed with {code}"))),
                Next::End => Err(Failure::new("3.7", "the connection ended")),
            },
        }
    }

    /// How many octets of DATA the peer lets us send on `id`, since the stream began.
    pub(super) fn limit(&self, id: u32) -> u64 {
        let first = self.hello.as_ref().map_or(0, |hello| u64::from(hello.stream_window));
        self.limits.get(&id).copied().unwrap_or(first)
    }

    /// How many streams the peer lets us open, since the session began.
    pub(super) const fn streams(&self) -> u64 {
        self.streams
    }

    fn keep(&mut self, frame: Received) -> Result<(), Failure> {
        if self.backlog.len() >= MAX_BACKLOG {
            return Err(Failure::new("13", "frames without end"));
        }
        self.backlog.push(frame);
        Ok(())
    }

    async fn read(&mut self) -> Result<Next, Failure> {
        if let Some(code) = self.closed.take() {
            return Ok(Next::Close(code));
        }
        loop {
            let taken = wire::take(&mut self.input)
                .map_err(|error| Failure::new("3.1", format!("a frame that is none: {error}")))?;
            let Some(received) = taken else {
                // However the connection ends, it has.
                if self.io.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                    return Ok(Next::End);
                }
                continue;
            };
            self.watch(&received.frame).await?;
            if let Frame::Close { code, .. } = received.frame {
                return Ok(Next::Close(code));
            }
            return Ok(Next::Frame(received));
        }
    }

    /// The rules that hold in every script.
    async fn watch(&mut self, frame: &Frame) -> Result<(), Failure> {
        let now = Instant::now();
        self.conduct.receive(now, frame).map_err(|error| Failure::new("3.4", error.to_string()))?;
        match frame {
            Frame::Hello(hello) => {
                self.streams = u64::from(hello.max_streams);
                self.hello = Some(hello.clone());
            }
            Frame::Open { id, credit, .. } => {
                self.limits.insert(*id, u64::from(*credit));
            }
            Frame::Credit { id, limit } => {
                let first = self.limit(*id);
                self.limits.insert(*id, first.max(*limit));
            }
            Frame::Streams { limit } => self.streams = self.streams.max(*limit),
            Frame::Data { id, payload, fin } => self.take_data(*id, payload, *fin)?,
            Frame::Ping { sequence, ack: false } if !self.is_mute => {
                self.send(&wire::encode(&Frame::Ping { sequence: *sequence, ack: true })).await;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_data(&mut self, id: u32, payload: &Bytes, fin: bool) -> Result<(), Failure> {
        let limit = self.granted.get(&id).copied().unwrap_or(self.window);
        let inbox = self.inbox.entry(id).or_default();
        if inbox.is_ended {
            return Err(Failure::new("3.6", format!("DATA on stream {id} after its FIN")));
        }
        inbox.received = inbox.received.saturating_add(u64::try_from(payload.len()).unwrap_or(u64::MAX));
        if inbox.received > limit {
            return Err(Failure::new(
                "3.5 rule 3",
                format!("DATA on stream {id} past the {limit} octets granted"),
            ));
        }
        inbox.octets.extend_from_slice(payload);
        inbox.is_ended = fin;
        Ok(())
    }

    /// Remembers what the well-formed frames among the octets that we send allow the peer.
    fn note(&mut self, octets: &[u8]) {
        self.noted.extend_from_slice(octets);
        let mut noted = std::mem::take(&mut self.noted);
        loop {
            match wire::take(&mut noted) {
                Ok(Some(received)) => self.note_frame(received.frame),
                // The begin of a frame: the rest may come with what is sent next.
                Ok(None) => break self.noted = noted,
                Err(_) => break,
            }
        }
    }

    fn note_frame(&mut self, frame: Frame) {
        match frame {
            // A second one is there to be refused.
            Frame::Hello(hello) if self.window == 0 => self.window = u64::from(hello.stream_window),
            Frame::Open { id, credit, .. } => {
                self.granted.insert(id, u64::from(credit));
            }
            Frame::Credit { id, limit } => {
                let before = self.granted.get(&id).copied().unwrap_or(self.window);
                self.granted.insert(id, before.max(limit));
            }
            Frame::Ping { sequence, ack: false } => self.conduct.sent_ping(sequence),
            _ => {}
        }
    }
}
