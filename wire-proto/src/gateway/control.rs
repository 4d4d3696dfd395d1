//! The gateway's machine, from hello to the end.
//!
//! ```text
//!                hello without proof            proof
//! AwaitingHello --------------------> AwaitingProof -----> AwaitingVerdict
//!       |        hello                                          |  ^  |
//!       +-------------------------------------------------------|--+  | refuse
//!                                                       welcome |     |
//!                     drain, or the agent leaves                v     |
//!          Draining <---------------------------------------- Serving |
//!              |                                                |     v
//!              +--------------- terminate, an error ------------+--> Ended
//! ```
//!
//! The authoriser is the caller's: the machine asks and waits. SPEC, "State machines" has every state against every
//! message; the test at the end of this file prints the same table and compares.

use crate::MessageError;
use crate::control::{
    AgentMessage, Answer, Binding, CommandError, ControlError, ControlVersions, Deadlines, GatewayMessage,
    Hello, MessageDecoder, Notice, Offer, Request, RequestKind, RequestNumber, SessionLimits, Settings,
    Welcome, after,
};
use crate::credential::{AgentProof, ChannelBinding, Nonce, Transcript, Verifier, WrongCredential, check};
use adit_errors::{Code, Envelope, Refusal, RequestId};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The gateway's side of a control stream, without I/O.
///
/// From below: [`receive`](Self::receive) until it gives `None`, [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says so. From above: [`check`](Self::check) and then
/// [`welcome`](Self::welcome) or [`refuse`](Self::refuse), later [`answer`](Self::answer),
/// [`refuse_request`](Self::refuse_request), [`notify`](Self::notify). To carry away after each of these:
/// [`poll_output`](Self::poll_output) until it gives `None`.
#[derive(Debug)]
pub struct Control {
    phase: Phase,
    options: Options,
    /// The end of the handshake.
    handshake: Option<Instant>,
    decoder: MessageDecoder,
    /// What the caller is to carry away. While it holds [`MAX_QUEUED`] messages, no more input is taken: a peer that
    /// doesn't read can't make it grow.
    output: VecDeque<Bytes>,
    /// At most `limits.max_pending_requests`.
    pending: BTreeMap<RequestNumber, RequestKind>,
    /// The highest number seen.
    last: Option<RequestNumber>,
    limits: SessionLimits,
    /// Messages without meaning to this version, at most [`MAX_IGNORED`].
    ignored: u32,
}

/// What a gateway brings to a control stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What ties proofs to this connection.
    pub binding: ChannelBinding,
    /// Fresh random octets, with which an agent is challenged where the carrier has no exporter.
    pub challenge: Nonce,
    /// The versions that the gateway speaks; the default is what this crate speaks.
    pub versions: ControlVersions,
    /// How long it waits.
    pub deadlines: Deadlines,
}

impl Options {
    /// A gateway with the default versions and deadlines. `challenge` is to be fresh for each connection.
    pub fn new(binding: ChannelBinding, challenge: Nonce) -> Self {
        Self { binding, challenge, versions: ControlVersions::OURS, deadlines: Deadlines::default() }
    }
}

/// What happened, as the gateway is to know it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An agent asks to be let in: [`check`](Control::check) its credential, then [`welcome`](Control::welcome) or
    /// [`refuse`](Control::refuse) it. Until then nothing more is taken from it.
    Hello(Offer),
    /// An agent asks for something: [`answer`](Control::answer) or [`refuse_request`](Control::refuse_request).
    Requested {
        /// Its number.
        number: RequestNumber,
        /// What for.
        request: Request,
    },
    /// The agent goes: give it no new streams. Those that are open are served for this long.
    Leaving {
        /// How long.
        deadline: Duration,
    },
}

/// Shows that an agent was let in on good grounds.
#[derive(Clone, Debug)]
pub struct Authorised(Option<Verifier>);

impl Authorised {
    /// Whoever the agent is, it was checked by other means: a client certificate, a private network. No proof is
    /// sent, so an agent that presented a credential will not believe this gateway.
    pub const fn by_other_means() -> Self {
        Self(None)
    }
}

#[derive(Debug)]
enum Phase {
    AwaitingHello,
    AwaitingProof { transcript: Transcript, offer: Box<Offer> },
    AwaitingVerdict { transcript: Transcript, proof: Option<AgentProof>, versions: ControlVersions },
    Serving,
    Draining { deadline: Option<Instant> },
    Ended,
}

/// As many messages may await being carried away before input is held back.
const MAX_QUEUED: usize = 64;

/// Newer agents may say a thing or two that we don't know; a flood of them is abuse.
const MAX_IGNORED: u32 = 1024;

impl Control {
    /// A control stream that was just opened.
    pub fn new(options: Options, now: Instant) -> Self {
        Self {
            phase: Phase::AwaitingHello,
            handshake: after(now, options.deadlines.handshake),
            options,
            decoder: MessageDecoder::new(),
            output: VecDeque::new(),
            pending: BTreeMap::new(),
            last: None,
            limits: SessionLimits::default(),
            ignored: 0,
        }
    }

    /// Takes messages off the front of `input` until one matters to the caller. `None`: append more octets, or give
    /// the verdict that is awaited, or carry away the output.
    ///
    /// # Errors
    /// [`ControlError`]: the stream has ended; end the session with its code.
    pub fn receive(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Event>, ControlError> {
        if matches!(self.phase, Phase::Ended) {
            return Err(ControlError::Ended);
        }
        let result = self.receive_some(now, input);
        if result.is_err() {
            self.phase = Phase::Ended;
        }
        result
    }

    /// Does what is due at `now`. Call it at the moment that [`poll_timeout`](Self::poll_timeout) gave, or later.
    ///
    /// # Errors
    /// [`ControlError::Timeout`]: the stream has ended; end the session with its code.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let awaited = match self.phase {
            Phase::Draining { .. } => "the end of the drain",
            Phase::AwaitingVerdict { .. } => "our own verdict",
            Phase::AwaitingHello | Phase::AwaitingProof { .. } => "the hello",
            Phase::Serving | Phase::Ended => return Ok(()),
        };
        self.phase = Phase::Ended;
        Err(ControlError::Timeout { awaited })
    }

    /// Checks the agent's proof against the verifiers of the credential that its offer names: the present one and, while
    /// a rotation overlaps, the one before. Give `[None, None]` for a credential that doesn't exist: the work and the
    /// answer are the same.
    ///
    /// # Errors
    /// [`WrongCredential`]: wait for [`failure_delay`](crate::credential::failure_delay), then
    /// [`refuse`](Self::refuse). Also if no verdict is awaited, or no proof was presented.
    pub fn check(&self, candidates: [Option<&Verifier>; 2]) -> Result<Authorised, WrongCredential> {
        let Phase::AwaitingVerdict { transcript, proof: Some(proof), .. } = &self.phase else {
            return Err(WrongCredential {});
        };
        check(transcript, proof, candidates).map(|verifier| Authorised(Some(verifier)))
    }

    /// Lets the agent in. `settings.version` is filled in.
    ///
    /// # Errors
    /// [`CommandError::State`] if no verdict is awaited; [`CommandError::Message`] if the settings break a limit.
    pub fn welcome(&mut self, authorised: &Authorised, mut settings: Settings) -> Result<(), CommandError> {
        let Phase::AwaitingVerdict { transcript, versions, .. } = &self.phase else {
            return Err(CommandError::State { state: self.state() });
        };
        let common = versions.common(self.options.versions);
        settings.version = common.ok_or(CommandError::State { state: "no version in common" })?;
        let octets = settings.encode();
        Settings::decode(octets.clone())?;
        let proof = authorised.0.as_ref().map(|verifier| transcript.gateway_proof_of(verifier, &octets));
        let message = GatewayMessage::Welcome(Welcome { settings: octets, proof }).encode()?;
        self.output.push_back(message);
        self.limits = settings.limits;
        self.phase = Phase::Serving;
        Ok(())
    }

    /// Turns the agent away. The stream ends: carry away the output, and close it.
    ///
    /// # Errors
    /// [`CommandError::State`] if no verdict is awaited; [`CommandError::Message`] if the refusal breaks a limit.
    pub fn refuse(&mut self, refusal: Envelope) -> Result<(), CommandError> {
        if !matches!(self.phase, Phase::AwaitingVerdict { .. }) {
            return Err(CommandError::State { state: self.state() });
        }
        self.output.push_back(GatewayMessage::Refused { number: None, refusal }.encode()?);
        self.phase = Phase::Ended;
        Ok(())
    }

    /// Grants a request.
    ///
    /// # Errors
    /// [`CommandError::NoSuchRequest`] if none of this number and kind awaits its answer (each is answered once);
    /// [`CommandError::Message`] if the answer breaks a limit; [`CommandError::State`] after the end.
    pub fn answer(&mut self, number: RequestNumber, answer: Answer) -> Result<(), CommandError> {
        self.serving()?;
        if self.pending.get(&number) != Some(&answer.kind()) {
            return Err(CommandError::NoSuchRequest);
        }
        self.output.push_back(GatewayMessage::Answer { number, answer }.encode()?);
        self.pending.remove(&number);
        Ok(())
    }

    /// Refuses a request. The session lives.
    ///
    /// # Errors
    /// Those of [`answer`](Self::answer).
    pub fn refuse_request(&mut self, number: RequestNumber, refusal: Envelope) -> Result<(), CommandError> {
        self.serving()?;
        if !self.pending.contains_key(&number) {
            return Err(CommandError::NoSuchRequest);
        }
        self.output.push_back(GatewayMessage::Refused { number: Some(number), refusal }.encode()?);
        self.pending.remove(&number);
        Ok(())
    }

    /// Says something on the gateway's own accord. [`Notice::Drain`] starts the drain, [`Notice::Terminate`] ends the
    /// stream.
    ///
    /// # Errors
    /// [`CommandError::State`] before the welcome and after the end; [`CommandError::Message`] if the notice breaks a
    /// limit.
    pub fn notify(&mut self, now: Instant, notice: Notice) -> Result<(), CommandError> {
        self.serving()?;
        let message = GatewayMessage::Notice(notice.clone()).encode()?;
        self.output.push_back(message);
        match notice {
            Notice::Drain(drain) => self.phase = Phase::Draining { deadline: after(now, drain.deadline) },
            Notice::Terminate { .. } => self.phase = Phase::Ended,
            Notice::Status { .. }
            | Notice::Superseded { .. }
            | Notice::CertificateDue { .. }
            | Notice::SecretRotated { .. } => {}
        }
        Ok(())
    }

    /// The next octets to send on the control stream, in this order.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Changes with every other call.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingHello | Phase::AwaitingProof { .. } | Phase::AwaitingVerdict { .. } => {
                self.handshake
            }
            Phase::Draining { deadline } => deadline,
            Phase::Serving | Phase::Ended => None,
        }
    }

    /// Whether the stream has ended: carry away what [`poll_output`](Self::poll_output) gives, and close it.
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether the session drains, on either side's wish.
    pub const fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    /// What it waits for, in words.
    pub const fn state(&self) -> &'static str {
        match self.phase {
            Phase::AwaitingHello => "awaiting hello",
            Phase::AwaitingProof { .. } => "awaiting proof",
            Phase::AwaitingVerdict { .. } => "awaiting verdict",
            Phase::Serving => "serving",
            Phase::Draining { .. } => "draining",
            Phase::Ended => "ended",
        }
    }

    const fn serving(&self) -> Result<(), CommandError> {
        match self.phase {
            Phase::Serving | Phase::Draining { .. } => Ok(()),
            Phase::AwaitingHello
            | Phase::AwaitingProof { .. }
            | Phase::AwaitingVerdict { .. }
            | Phase::Ended => Err(CommandError::State { state: self.state() }),
        }
    }

    fn receive_some(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Event>, ControlError> {
        // Not before the verdict: an agent's requests wait in the input, unlooked at.
        while !matches!(self.phase, Phase::AwaitingVerdict { .. }) && self.output.len() < MAX_QUEUED {
            let Some(octets) = self.decoder.decode(input)? else { return Ok(None) };
            if let Some(event) = self.on_message(now, AgentMessage::decode(octets)?)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn on_message(&mut self, now: Instant, message: AgentMessage) -> Result<Option<Event>, ControlError> {
        let serving = self.serving().is_ok();
        match message {
            AgentMessage::Hello(hello) if matches!(self.phase, Phase::AwaitingHello) => self.on_hello(hello),
            AgentMessage::Proof(proof) => self.on_proof(proof),
            AgentMessage::Request { number, request } if serving => {
                self.on_request(number, request).map(Some)
            }
            AgentMessage::Leave { deadline } if serving => {
                self.phase = Phase::Draining { deadline: after(now, deadline) };
                Ok(Some(Event::Leaving { deadline }))
            }
            AgentMessage::Unknown { number: Some(number) } if serving => self.on_unknown_request(number),
            AgentMessage::Unknown { number: None } if serving => self.ignore(),
            AgentMessage::Hello(_) => Err(self.unexpected("a hello")),
            AgentMessage::Request { .. } => Err(self.unexpected("a request")),
            AgentMessage::Leave { .. } => Err(self.unexpected("a leave")),
            AgentMessage::Unknown { .. } => Err(self.unexpected("a message of an unknown kind")),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<Option<Event>, ControlError> {
        let offer = Offer::decode(hello.offer.clone())?;
        if offer.versions.common(self.options.versions).is_none() {
            return Err(ControlError::Version);
        }
        let bound = self.options.binding.is_bound();
        match (offer.credential.is_some(), hello.proof) {
            (true, None) if !bound && offer.binding == Binding::NONE => self.challenge(&hello.offer, offer),
            (true, Some(proof)) if bound && offer.binding == Binding::TLS_EXPORTER => {
                let transcript = Transcript::new(self.options.binding, None, &hello.offer);
                Ok(Some(self.await_verdict(transcript, Some(proof), offer)))
            }
            (false, None) => {
                let transcript = Transcript::new(self.options.binding, None, &hello.offer);
                Ok(Some(self.await_verdict(transcript, None, offer)))
            }
            (true, _) => Err(ControlError::Proof),
            (false, Some(_)) => Err(self.unexpected("a proof without a credential")),
        }
    }

    fn challenge(&mut self, octets: &[u8], offer: Offer) -> Result<Option<Event>, ControlError> {
        let nonce = self.options.challenge;
        self.output.push_back(GatewayMessage::Challenge(nonce).encode()?);
        let transcript = Transcript::new(ChannelBinding::NONE, Some(&nonce), octets);
        self.phase = Phase::AwaitingProof { transcript, offer: Box::new(offer) };
        Ok(None)
    }

    fn on_proof(&mut self, proof: AgentProof) -> Result<Option<Event>, ControlError> {
        let unexpected = self.unexpected("a proof");
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::AwaitingProof { transcript, offer } => {
                Ok(Some(self.await_verdict(transcript, Some(proof), *offer)))
            }
            Phase::AwaitingHello
            | Phase::AwaitingVerdict { .. }
            | Phase::Serving
            | Phase::Draining { .. }
            | Phase::Ended => Err(unexpected),
        }
    }

    fn await_verdict(&mut self, transcript: Transcript, proof: Option<AgentProof>, offer: Offer) -> Event {
        self.phase = Phase::AwaitingVerdict { transcript, proof, versions: offer.versions };
        Event::Hello(offer)
    }

    fn on_request(&mut self, number: RequestNumber, request: Request) -> Result<Event, ControlError> {
        self.take_number(number)?;
        if self.pending.len() >= usize::try_from(self.limits.max_pending_requests).unwrap_or(usize::MAX) {
            return Err(ControlError::Excessive);
        }
        self.pending.insert(number, request.kind());
        Ok(Event::Requested { number, request })
    }

    fn on_unknown_request(&mut self, number: RequestNumber) -> Result<Option<Event>, ControlError> {
        self.take_number(number)?;
        self.ignore()?;
        let refusal = unsupported(number)?;
        self.output.push_back(GatewayMessage::Refused { number: Some(number), refusal }.encode()?);
        Ok(None)
    }

    fn take_number(&mut self, number: RequestNumber) -> Result<(), ControlError> {
        if self.last.is_some_and(|last| number <= last) {
            return Err(self.unexpected("a request number that doesn't rise"));
        }
        self.last = Some(number);
        Ok(())
    }

    fn ignore(&mut self) -> Result<Option<Event>, ControlError> {
        self.ignored = self.ignored.saturating_add(1);
        if self.ignored > MAX_IGNORED { Err(ControlError::Excessive) } else { Ok(None) }
    }

    const fn unexpected(&self, message: &'static str) -> ControlError {
        ControlError::Unexpected { message, state: self.state() }
    }
}

/// The id is made from the number alone: the machine rolls no dice, and the agent knows which request it was.
fn unsupported(number: RequestNumber) -> Result<Envelope, ControlError> {
    let id = RequestId::parse(&format!("control-{number}"));
    let id = id.map_err(|_| MessageError::Value { field: "request" })?;
    let refusal = Refusal::new(Code::UNSUPPORTED_FEATURE, "this gateway doesn't know this kind of request");
    Ok(refusal.with_request_id(id))
}
