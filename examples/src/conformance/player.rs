//! Plays one script against the one under test.

use super::carrier::{Carrier, Dialler, Listener};
use super::control::{self, AgentSide, CONTROL, GatewaySide};
use super::local::Other;
use super::peer::{Next, Peer};
use super::script::{Action, CarrierKind, Fill, Heard, OpenTooMany, Repeat, Said, Script, Start, Step};
use super::wire;
use crate::agent::Secret;
use crate::{BoxError, random};
use adit_wire_proto::StreamHead;
use adit_wire_proto::control::{Answer, GatewayMessage};
use adit_wire_proto::credential::{ChannelBinding, Credential};
use adit_wire_proto::frame::{Dialled, Frame, Hello, MAX_DATA_BYTES};
use bytes::Bytes;
use std::fmt::{self, Display};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How long a script may take in all.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(90);

/// How long an agent under test may take to connect: longer than the longest pause that the specification has it make.
const CONNECT_DEADLINE: Duration = Duration::from_secs(70);

/// How long nothing more may be granted before a limit counts as the last.
const STEADY: Duration = Duration::from_millis(500);

/// What we let the peer send on each stream: more than any script needs.
const WINDOW: u32 = 1 << 20;

/// More octets than any honest peer lets wait on one stream.
const MOST_FILLING: u64 = 1 << 30;

/// Why a script failed.
#[derive(Clone, Debug)]
pub struct Failure {
    section: String,
    what: String,
}

impl Failure {
    pub(super) fn new(section: impl Into<String>, what: impl Into<String>) -> Self {
        Self { section: section.into(), what: what.into() }
    }

    /// The script or this program is at fault, not the one under test.
    pub(super) fn own(error: impl Display) -> Self {
        Self::new("none", format!("the script can't be played: {error}"))
    }

    /// The section of the specification that was broken.
    pub fn section(&self) -> &str {
        &self.section
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SPEC {}: {}", self.section, self.what)
    }
}

/// Plays scripts against one gateway or one agent.
pub struct Player {
    side: Side,
    carrier: CarrierKind,
}

enum Side {
    /// We play the agent.
    Agent { dialler: Dialler, secrets: Mutex<Secrets> },
    /// We play the gateway, and the agent's upstream.
    Gateway { listener: Listener, upstream: TcpListener },
}

/// The connect secret of the gateway under test, which scripts may rotate.
#[derive(Clone)]
struct Secrets {
    present: Credential,
    /// The one before the last rotation.
    old: Option<Credential>,
}

impl Player {
    /// Tests a gateway: connects to it as an agent that knows `secret`.
    pub fn against_gateway(dialler: Dialler, secret: Secret) -> Self {
        let secrets = Mutex::new(Secrets { present: secret.into_credential(), old: None });
        let carrier = if dialler.is_plain() { CarrierKind::Plain } else { CarrierKind::Tls };
        Self { side: Side::Agent { dialler, secrets }, carrier }
    }

    /// Tests an agent that is told to connect to `listener` and to forward to `upstream`.
    pub const fn against_agent(listener: Listener, upstream: TcpListener) -> Self {
        let carrier = if listener.is_plain() { CarrierKind::Plain } else { CarrierKind::Tls };
        Self { side: Side::Gateway { listener, upstream }, carrier }
    }

    /// Plays one script on a fresh connection; `None` if it is for another carrier.
    ///
    /// # Errors
    /// The first rule that was found broken.
    pub async fn play(&self, script: &Script) -> Option<Result<(), Failure>> {
        if script.carrier.is_some_and(|carrier| carrier != self.carrier) {
            return None;
        }
        let connected = timeout(CONNECT_DEADLINE, self.connect()).await;
        let carrier = match connected {
            Ok(Ok(carrier)) => carrier,
            Ok(Err(error)) => return Some(Err(Failure::new("2", error.to_string()))),
            Err(_) => return Some(Err(Failure::new("2", "there was no connection in time"))),
        };
        let mut scene = Scene::new(self, script, carrier);
        let played = timeout(SCRIPT_DEADLINE, scene.play()).await;
        Some(played.unwrap_or_else(|_| Err(Failure::new(&script.section, "the script took too long"))))
    }

    /// The connect secret that is good now, if a script rotated the one that was given.
    pub fn rotated_secret(&self) -> Option<String> {
        let secrets = self.secrets().ok()?;
        secrets.old.map(|_| secrets.present.reveal().to_string())
    }

    fn secrets(&self) -> Result<Secrets, Failure> {
        let Side::Agent { secrets, .. } = &self.side else {
            return Err(Failure::own("a gateway says no hello"));
        };
        Ok(secrets.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The gateway under test has given us another secret.
    fn rotate(&self, fresh: Credential) {
        if let Side::Agent { secrets, .. } = &self.side {
            let mut secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
            secrets.old = Some(std::mem::replace(&mut secrets.present, fresh));
        }
    }

    const fn dialled(&self) -> Dialled {
        match &self.side {
            Side::Agent { .. } => Dialled::ByUs,
            Side::Gateway { .. } => Dialled::ByPeer,
        }
    }

    async fn connect(&self) -> Result<Carrier, BoxError> {
        match &self.side {
            Side::Agent { dialler, .. } => dialler.connect().await,
            Side::Gateway { listener, .. } => listener.accept().await,
        }
    }
}

/// One session of a script.
struct Line {
    peer: Peer,
    binding: ChannelBinding,
    agent: AgentSide,
    gateway: GatewaySide,
}

impl Line {
    fn new(carrier: Carrier, dialled: Dialled, script: &Script) -> Self {
        let Carrier { io, binding } = carrier;
        let mut peer = Peer::new(io, dialled);
        if script.slow {
            peer.be_patient();
        }
        if script.mute {
            peer.be_mute();
        }
        Self { peer, binding, agent: AgentSide::new(), gateway: GatewaySide::new(binding) }
    }
}

/// One script being played.
struct Scene<'a> {
    player: &'a Player,
    script: &'a Script,
    line: Line,
    /// Sessions that the script will come back to.
    parked: Vec<Line>,
    other: Other<'a>,
}

impl<'a> Scene<'a> {
    fn new(player: &'a Player, script: &'a Script, carrier: Carrier) -> Self {
        let upstream = match &player.side {
            Side::Agent { .. } => None,
            Side::Gateway { upstream, .. } => Some(upstream),
        };
        let line = Line::new(carrier, player.dialled(), script);
        Self { player, script, line, parked: Vec::new(), other: Other::new(upstream) }
    }

    async fn play(&mut self) -> Result<(), Failure> {
        let script = self.script;
        self.start(script.start).await?;
        for (at, step) in script.steps.iter().enumerate() {
            self.step(step).await.map_err(|failure| {
                let section = step.section.clone().unwrap_or_else(|| script.section.clone());
                Failure::new(section, format!("step {}: {} ({})", at + 1, failure.what, failure.section))
            })?;
        }
        Ok(())
    }

    /// Brings the session to where the script begins.
    async fn start(&mut self, start: Start) -> Result<(), Failure> {
        if start >= Start::Hello {
            let mut hello = Hello::new();
            (hello.max_streams, hello.stream_window) = (1024, WINDOW);
            self.line.peer.send(&wire::encode(&Frame::Hello(hello))).await;
            self.line.peer.find(|received| matches!(received.frame, Frame::Hello(_))).await?;
        }
        match &self.player.side {
            Side::Agent { .. } => self.start_as_agent(start).await,
            Side::Gateway { .. } => self.start_as_gateway(start).await,
        }
    }

    async fn start_as_agent(&mut self, start: Start) -> Result<(), Failure> {
        if start >= Start::Control {
            let head = StreamHead::control().encode();
            let open = Frame::Open { id: CONTROL, credit: WINDOW, head, fin: false };
            self.line.peer.send(&wire::encode(&open)).await;
        }
        if start >= Start::Welcomed {
            self.say(Said::Hello).await?;
            let welcome = Heard { kind: "welcome".to_owned(), number: 0, code: None };
            self.hear(&welcome).await?;
        }
        Ok(())
    }

    async fn start_as_gateway(&mut self, start: Start) -> Result<(), Failure> {
        if start >= Start::Control {
            let head = StreamHead::control();
            let opened = self.line.peer.find(|received| matches!(received.frame, Frame::Open { .. })).await?;
            let is_control = matches!(&opened.frame, Frame::Open { id: CONTROL, head: octets, .. }
                if StreamHead::decode(octets.clone()).is_ok_and(|given| given == head));
            if !is_control {
                return Err(Failure::new("6 rule 1", "the first stream is no control stream"));
            }
        }
        if start >= Start::Welcomed {
            let welcome = self.welcome().await?;
            control::send(&mut self.line.peer, &welcome).await;
        }
        if start >= Start::Serving {
            self.line.gateway.register(&mut self.line.peer).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match &step.action {
            Action::Send(octets) => {
                let octets = wire::octets(octets).map_err(Failure::own)?;
                self.line.peer.send(&octets).await;
                Ok(())
            }
            Action::Expect(pattern) => self.expect(pattern).await,
            Action::Data(data) => {
                let wanted = data.text.as_bytes();
                let inbox = self
                    .line
                    .peer
                    .inbox(data.id, |inbox| {
                        inbox.octets.len() >= wanted.len() && (inbox.is_ended || !data.fin)
                    })
                    .await?;
                let came = inbox.octets.split();
                if came == wanted {
                    Ok(())
                } else {
                    Err(Failure::new("3.5", format!("`{}` came", came.escape_ascii())))
                }
            }
            Action::Close(codes) => self.close(codes).await,
            Action::Control(message) => {
                let message =
                    wire::octets(message).and_then(|it| control::prefixed(&it)).map_err(Failure::own)?;
                control::send(&mut self.line.peer, &message).await;
                Ok(())
            }
            Action::Say(said) => self.say(*said).await,
            Action::Hear(heard) => self.hear(heard).await,
            Action::Local(action) => self.other.act(*action).await.map_err(local),
            Action::LocalSend(text) => self.other.send(text).await.map_err(local),
            Action::LocalExpect(text) => self.other.expect(text).await.map_err(local),
            Action::Fill(fill) => self.fill(fill).await,
            Action::OpenTooMany(open) => self.open_too_many(open).await,
            Action::Repeat(repeat) => self.repeat(repeat).await,
            Action::Drip(drip) => {
                let octets = wire::octets(&drip.octets).map_err(Failure::own)?;
                self.line.peer.drip(&octets, Duration::from_millis(drip.pause_ms)).await
            }
            Action::Again(start) => self.again(*start).await,
            Action::Back(_) => {
                self.line = self.parked.pop().ok_or_else(|| Failure::own("there is no session before"))?;
                Ok(())
            }
            Action::StaysAway(away) => {
                match timeout(Duration::from_secs(away.seconds), self.player.connect()).await {
                    Err(_) => Ok(()),
                    Ok(_) => Err(Failure::new("14.3", "the agent connected once more")),
                }
            }
        }
    }

    async fn expect(&mut self, pattern: &str) -> Result<(), Failure> {
        wire::matches(pattern, &[]).map_err(Failure::own)?;
        let found =
            self.line.peer.find(|received| wire::matches(pattern, &received.octets).unwrap_or(false)).await;
        found.map(drop).map_err(|failure| {
            Failure::new(failure.section, format!("no frame `{pattern}`: {}", failure.what))
        })
    }

    /// The peer says CLOSE with one of `codes`, and then ends the connection.
    async fn close(&mut self, codes: &[String]) -> Result<(), Failure> {
        let wanted = codes.join(" or ");
        let code = loop {
            match self.line.peer.next().await.map_err(|failure| {
                Failure::new(failure.section, format!("no CLOSE with {wanted}: {}", failure.what))
            })? {
                Next::Frame(_) => {}
                Next::Close(code) => break code,
                Next::End => {
                    return Err(Failure::new(
                        "3.7 rule 4",
                        format!("the connection ended without CLOSE with {wanted}"),
                    ));
                }
            }
        };
        if !codes.iter().any(|wanted| *wanted == code.to_string()) {
            return Err(Failure::new("16.2", format!("CLOSE with {code}, not with {wanted}")));
        }
        match self.line.peer.next().await {
            Ok(Next::End) => Ok(()),
            Ok(_) => Err(Failure::new("3.4 rule 1", "a frame after CLOSE")),
            Err(_) => Err(Failure::new("3.7 rule 4", "the connection goes on after CLOSE")),
        }
    }

    async fn say(&mut self, said: Said) -> Result<(), Failure> {
        let bound = self.line.binding;
        if matches!(self.player.side, Side::Gateway { .. }) {
            return self.say_as_gateway(said).await;
        }
        let Secrets { present, old } = self.player.secrets()?;
        let (credential, binding) = match said {
            Said::Hello => (present, bound),
            Said::HelloWithOldSecret => {
                (old.ok_or_else(|| Failure::own("there was no rotation before"))?, bound)
            }
            Said::HelloWithWrongSecret => (control::wrong_secret(&present), bound),
            Said::HelloOfUnknownId => (control::unknown_credential(), bound),
            Said::HelloWithOtherBinding if bound.is_bound() => (present, ChannelBinding::NONE),
            Said::HelloWithOtherBinding => (present, ChannelBinding::tls_exporter([5; 32])),
            Said::WelcomeWithWrongProof | Said::WelcomeWithoutProof => {
                return Err(Failure::own("an agent says no welcome"));
            }
        };
        self.line.agent.hello(&mut self.line.peer, credential, binding).await
    }

    async fn say_as_gateway(&mut self, said: Said) -> Result<(), Failure> {
        let welcome = self.welcome().await?;
        let proof = match said {
            Said::WelcomeWithWrongProof => Some(random::octets()),
            Said::WelcomeWithoutProof => None,
            _ => return Err(Failure::own("a gateway says no hello")),
        };
        let welcome = control::with_proof(&welcome, proof).map_err(Failure::own)?;
        control::send(&mut self.line.peer, &welcome).await;
        Ok(())
    }

    async fn welcome(&mut self) -> Result<Bytes, Failure> {
        let Side::Gateway { listener, .. } = &self.player.side else {
            return Err(Failure::own("an agent says no welcome"));
        };
        self.line.gateway.welcome(&mut self.line.peer, listener.credential()).await
    }

    async fn hear(&mut self, heard: &Heard) -> Result<(), Failure> {
        loop {
            let message = self.line.agent.hear(&mut self.line.peer).await?;
            let (kind, number) = control::kind(&message);
            if number != heard.number {
                continue;
            }
            let code = match &message {
                GatewayMessage::Refused { refusal, .. } => Some(refusal.code().as_str().to_owned()),
                _ => None,
            };
            if kind != heard.kind || (heard.code.is_some() && heard.code != code) {
                let code = code.unwrap_or_default();
                return Err(Failure::new(
                    "8",
                    format!("the answer is `{kind}` {code}, not `{}`", heard.kind),
                ));
            }
            match message {
                GatewayMessage::Answer { answer: Answer::Registered(registered), .. } => {
                    self.other.address = registered.addresses.first().cloned();
                }
                GatewayMessage::Answer { answer: Answer::RotatedSecret(rotated), .. } => {
                    self.player.rotate(rotated.credential);
                }
                _ => {}
            }
            return Ok(());
        }
    }

    /// Another session beside this one, which is parked.
    async fn again(&mut self, start: Start) -> Result<(), Failure> {
        let connected = timeout(CONNECT_DEADLINE, self.player.connect()).await;
        let carrier = match connected {
            Ok(Ok(carrier)) => carrier,
            Ok(Err(error)) => return Err(Failure::new("2", error.to_string())),
            Err(_) => return Err(Failure::new("14.3", "there was no connection in time")),
        };
        let line = Line::new(carrier, self.player.dialled(), self.script);
        self.parked.push(std::mem::replace(&mut self.line, line));
        self.start(start).await
    }

    async fn repeat(&mut self, repeat: &Repeat) -> Result<(), Failure> {
        let mut all = Vec::new();
        let mut counter = repeat.from;
        for _ in 0..repeat.times {
            let text = repeat.send.replace("{4}", &format!("{counter:08x}"));
            let text = text.replace("{8}", &format!("{counter:016x}"));
            all.extend_from_slice(&wire::octets(&text).map_err(Failure::own)?);
            counter = counter.saturating_add(repeat.by);
        }
        self.line.peer.send(&all).await;
        Ok(())
    }

    async fn fill(&mut self, fill: &Fill) -> Result<(), Failure> {
        let mut sent = 0;
        loop {
            let limit = self.line.peer.limit(fill.id);
            while sent < limit {
                let length = (limit - sent).min(u64::from(MAX_DATA_BYTES));
                self.fill_with(fill.id, u16::try_from(length).unwrap_or(MAX_DATA_BYTES)).await;
                sent += length;
            }
            if sent > MOST_FILLING {
                return Err(Failure::new("3.5", "credit without end for what nobody reads"));
            }
            while self.line.peer.limit(fill.id) == sent {
                if !self.line.peer.listen(STEADY).await? {
                    self.fill_with(fill.id, fill.beyond).await;
                    return Ok(());
                }
            }
        }
    }

    async fn fill_with(&mut self, id: u32, length: u16) {
        let payload = Bytes::from(vec![b'x'; usize::from(length)]);
        self.line.peer.send(&wire::encode(&Frame::Data { id, payload, fin: false })).await;
    }

    async fn open_too_many(&mut self, open: &OpenTooMany) -> Result<(), Failure> {
        let head = wire::octets(&open.head).map_err(Failure::own)?;
        let mut id = open.first;
        loop {
            let opened = u64::from(id.div_ceil(2));
            if opened > self.line.peer.streams() && !self.line.peer.listen(STEADY).await? {
                self.line.peer.send(&wire::encode(&Frame::Open { id, credit: 0, head, fin: false })).await;
                return Ok(());
            }
            if opened <= self.line.peer.streams() {
                self.line
                    .peer
                    .send(&wire::encode(&Frame::Open { id, credit: 0, head: head.clone(), fin: false }))
                    .await;
                id += 2;
            }
        }
    }
}

fn local(error: BoxError) -> Failure {
    Failure::new("10", format!("on the other side of the one under test: {error}"))
}
