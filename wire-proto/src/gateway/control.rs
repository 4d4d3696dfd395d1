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
pub struct Authorised {
    verifier: Option<Verifier>,
    is_previous: bool,
}

impl Authorised {
    /// Whoever the agent is, it was checked by other means: a client certificate, a private network. No proof is
    /// sent, so an agent that presented a credential will not believe this gateway.
    pub const fn by_other_means() -> Self {
        Self { verifier: None, is_previous: false }
    }

    /// Whether the agent proved the secret before the last rotation, the second of the candidates: its session is to be
    /// drained when the overlap ends (SPEC 7.4).
    pub const fn used_previous_secret(&self) -> bool {
        self.is_previous
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
    /// [`ControlError`]: the stream has ended; end the session with its code. A hello of another version, or with the
    /// wrong binding, also leaves a refusal in the output, so that the agent can tell its owner why.
    pub fn receive(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Event>, ControlError> {
        if matches!(self.phase, Phase::Ended) {
            return Err(ControlError::Ended);
        }
        let is_greeting = matches!(self.phase, Phase::AwaitingHello);
        let result = self.receive_some(now, input);
        if let Err(error) = &result {
            self.phase = Phase::Ended;
            self.output.extend(farewell(error).filter(|_| is_greeting));
        }
        result
    }

    /// Does what is due at `now`. Call it at the moment that [`poll_timeout`](Self::poll_timeout) gave, or later.
    ///
    /// # Errors
    /// [`ControlError::Timeout`] or [`ControlError::DrainOver`]: the stream has ended; end the session with its code.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = match self.phase {
            Phase::Draining { .. } => ControlError::DrainOver,
            Phase::AwaitingVerdict { .. } => ControlError::Timeout { awaited: "our own verdict" },
            Phase::AwaitingHello | Phase::AwaitingProof { .. } => {
                ControlError::Timeout { awaited: "the hello" }
            }
            Phase::Serving | Phase::Ended => return Ok(()),
        };
        self.phase = Phase::Ended;
        Err(error)
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
        check(transcript, proof, candidates)
            .map(|(verifier, is_previous)| Authorised { verifier: Some(verifier), is_previous })
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
        let proof =
            authorised.verifier.as_ref().map(|verifier| transcript.gateway_proof_of(verifier, &octets));
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

/// What an agent is told whose hello can't be taken up at all.
fn farewell(error: &ControlError) -> Option<Bytes> {
    let refusal = match error {
        ControlError::Version => Refusal::new(Code::UNSUPPORTED_VERSION, "no version in common"),
        ControlError::Proof => Refusal::new(Code::AUTH_FAILED, "the credential was not accepted"),
        ControlError::Message { .. }
        | ControlError::Unexpected { .. }
        | ControlError::Excessive
        | ControlError::Timeout { .. }
        | ControlError::DrainOver
        | ControlError::Ended => return None,
    };
    let refusal = refusal.with_request_id(RequestId::parse("control-hello").ok()?);
    GatewayMessage::Refused { number: None, refusal }.encode().ok()
}

/// The id is made from the number alone: the machine rolls no dice, and the agent knows which request it was.
fn unsupported(number: RequestNumber) -> Result<Envelope, ControlError> {
    let id = RequestId::parse(&format!("control-{number}"));
    let id = id.map_err(|_| MessageError::Value { field: "request" })?;
    let refusal = Refusal::new(Code::UNSUPPORTED_FEATURE, "this gateway doesn't know this kind of request");
    Ok(refusal.with_request_id(id))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a moment to start from")]
mod tests {
    use super::*;
    use crate::control::{
        Claim, ControlVersion, Drain, Generation, Register, Registered, RegistrationId, TunnelStatus,
    };
    use crate::credential::{Credential, CredentialKind};
    use crate::table::{cell, table};
    use crate::{CloseCode, Protocol};

    const STATES: [&str; 6] =
        ["awaiting hello", "awaiting proof", "awaiting verdict", "serving", "draining", "ended"];

    const EXPORTER: ChannelBinding = ChannelBinding::tls_exporter([7; 32]);

    type Apply = fn(&mut Control, Instant) -> Result<(), CloseCode>;

    /// What a peer may send, our caller may ask for, and time may bring.
    const EVENTS: [(&str, Apply); 20] = [
        ("< hello", |it, now| {
            let hello = hello(it.options.binding);
            receive(it, now, &AgentMessage::Hello(hello))
        }),
        ("< hello, other versions", |it, now| {
            let mut offer = offer(EXPORTER);
            offer.versions =
                ControlVersions::new(ControlVersion::from_u32(2), ControlVersion::from_u32(3)).unwrap();
            receive(it, now, &AgentMessage::Hello(Hello { offer: offer.encode(), proof: None }))
        }),
        ("< hello, other binding", |it, now| {
            let other = if it.options.binding.is_bound() { ChannelBinding::NONE } else { EXPORTER };
            receive(it, now, &AgentMessage::Hello(hello(other)))
        }),
        ("< proof", |it, now| receive(it, now, &AgentMessage::Proof(AgentProof::from_octets([1; 32])))),
        ("< request", |it, now| receive(it, now, &request(2))),
        ("< request, number used", |it, now| receive(it, now, &request(1))),
        ("< leave", |it, now| receive(it, now, &AgentMessage::Leave { deadline: Duration::from_secs(30) })),
        ("< unknown request", |it, now| {
            receive(it, now, &AgentMessage::Unknown { number: RequestNumber::new(2) })
        }),
        ("< unknown kind", |it, now| receive(it, now, &AgentMessage::Unknown { number: None })),
        ("< not protobuf", |it, now| {
            let mut input = BytesMut::from(&b"\0\0\0\x01\xff"[..]);
            it.receive(now, &mut input).map(drop).map_err(|error| error.close_code())
        }),
        ("> welcome", |it, _| command(it.welcome(&Authorised::by_other_means(), Settings::new("s")))),
        ("> refuse", |it, _| command(it.refuse(envelope()))),
        ("> answer", |it, _| command(it.answer(RequestNumber::FIRST, answer()))),
        ("> answer of another kind", |it, _| {
            let answer = Answer::Unregistered { registration: RegistrationId::FIRST };
            command(it.answer(RequestNumber::FIRST, answer))
        }),
        ("> refuse request", |it, _| command(it.refuse_request(RequestNumber::FIRST, envelope()))),
        ("> status", |it, now| {
            let (registration, status) = (RegistrationId::FIRST, TunnelStatus::PAUSED);
            command(it.notify(now, Notice::Status { registration, status, reason: None }))
        }),
        ("> superseded", |it, now| {
            let (registration, generation) = (RegistrationId::FIRST, Generation::FIRST);
            command(it.notify(now, Notice::Superseded { registration, generation }))
        }),
        ("> drain", |it, now| command(it.notify(now, Notice::Drain(Drain::new(Duration::from_secs(30)))))),
        ("> terminate", |it, now| command(it.notify(now, Notice::Terminate { reason: envelope() }))),
        ("deadline", |it, _| {
            let Some(at) = it.poll_timeout() else { return Ok(()) };
            it.handle_timeout(at).map_err(|error| error.close_code())
        }),
    ];

    #[test]
    fn the_table_of_the_specification_is_what_the_machine_does() {
        let events = EVENTS.map(|(name, _)| name);
        let table = table(&events, &STATES, |event, state| {
            let (mut control, now) = reach(STATES[state]);
            let result = (EVENTS[event].1)(&mut control, now);
            cell(result, control.state())
        });
        println!("{table}");
        assert!(include_str!("../../SPEC.md").contains(&table), "SPEC.md has another table for the gateway");
    }

    #[test]
    fn w14_w15_what_comes_before_the_verdict_is_not_looked_at_and_a_second_hello_ends_the_session() {
        let (mut control, now) = reach("awaiting verdict");
        let mut input = BytesMut::new();
        input.extend_from_slice(&request(1).encode().unwrap());
        input.extend_from_slice(&AgentMessage::Hello(hello(EXPORTER)).encode().unwrap());
        let before = input.len();
        assert!(control.receive(now, &mut input).unwrap().is_none());
        assert_eq!(input.len(), before);
        control.welcome(&Authorised::by_other_means(), Settings::new("s")).unwrap();
        assert!(matches!(control.receive(now, &mut input), Ok(Some(Event::Requested { .. }))));
        let error = control.receive(now, &mut input).unwrap_err();
        assert_eq!(error.close_code(), CloseCode::UNEXPECTED);
    }

    #[test]
    fn w14_a_request_before_the_hello_ends_the_session_and_asks_for_no_credential() {
        let (mut control, now) = reach("awaiting hello");
        assert_eq!(receive(&mut control, now, &request(1)), Err(CloseCode::UNEXPECTED));
        assert!(control.check([Some(&credential().verifier()), None]).is_err());
    }

    #[test]
    fn w16_an_agent_of_another_version_is_told_to_upgrade() {
        let (mut control, now) = reach("awaiting hello");
        assert_eq!((EVENTS[1].1)(&mut control, now), Err(CloseCode::UNSUPPORTED_VERSION));
        let sent = GatewayMessage::decode(control.poll_output().unwrap().slice(4..)).unwrap();
        let GatewayMessage::Refused { number: None, refusal } = sent else { panic!("{sent:?}") };
        assert_eq!(refusal.code(), &Code::UNSUPPORTED_VERSION);
        assert!(control.is_ended() && control.poll_output().is_none());
    }

    #[test]
    fn w16_an_offer_changed_on_the_way_breaks_the_proof() {
        let mut hello = hello(EXPORTER);
        let mut offer = Offer::decode(hello.offer.clone()).unwrap();
        offer.features = vec!["added".into()];
        hello.offer = offer.encode();
        let mut control = Control::new(Options::new(EXPORTER, [9; 32]), Instant::now());
        receive(&mut control, Instant::now(), &AgentMessage::Hello(hello)).unwrap();
        assert!(control.check([Some(&credential().verifier()), None]).is_err());
    }

    #[test]
    fn w18_w20_the_right_proof_passes_and_one_from_another_connection_does_not() {
        let verifier = credential().verifier();
        let (control, _) = reach("awaiting verdict");
        assert!(control.check([None, Some(&verifier)]).is_ok());
        let mut elsewhere =
            Control::new(Options::new(ChannelBinding::tls_exporter([8; 32]), [9; 32]), Instant::now());
        receive(&mut elsewhere, Instant::now(), &AgentMessage::Hello(hello(EXPORTER))).unwrap();
        assert!(elsewhere.check([Some(&verifier), Some(&verifier)]).is_err());
    }

    #[test]
    fn w24_w25_a_refused_request_leaves_the_session_alive() {
        let (mut control, now) = reach("serving");
        control.refuse_request(RequestNumber::FIRST, envelope()).unwrap();
        assert_eq!(
            control.refuse_request(RequestNumber::FIRST, envelope()),
            Err(CommandError::NoSuchRequest),
            "each request is answered once"
        );
        receive(&mut control, now, &request(2)).unwrap();
        control.answer(RequestNumber::new(2).unwrap(), answer()).unwrap();
        assert_eq!(control.state(), "serving");
    }

    #[test]
    fn w26_the_older_registration_is_told_and_its_session_serves_the_others() {
        let (mut control, now) = reach("serving");
        while control.poll_output().is_some() {}
        let (registration, generation) = (RegistrationId::FIRST, Generation::new(2).unwrap());
        let notice = Notice::Superseded { registration, generation };
        control.notify(now, notice.clone()).unwrap();
        let sent = GatewayMessage::decode(control.poll_output().unwrap().slice(4..)).unwrap();
        assert!(matches!(sent, GatewayMessage::Notice(sent) if sent == notice));
        assert_eq!(control.state(), "serving");
    }

    #[test]
    fn a_peer_that_asks_and_never_reads_cannot_make_the_output_grow() {
        let (mut control, now) = reach("serving");
        let mut input = BytesMut::new();
        for number in 2..1000 {
            let unknown = AgentMessage::Unknown { number: RequestNumber::new(number) };
            input.extend_from_slice(&unknown.encode().unwrap());
        }
        assert!(control.receive(now, &mut input).unwrap().is_none());
        assert!(control.output.len() <= MAX_QUEUED && !input.is_empty());
    }

    #[test]
    fn more_pending_requests_than_the_limit_are_excessive() {
        let (mut control, now) = reach("serving");
        let error = (2..100).find_map(|number| receive(&mut control, now, &request(number)).err());
        assert_eq!(error, Some(CloseCode::ENHANCE_CALM));
    }

    /// A machine in this state, with one register awaiting its answer where that is possible.
    fn reach(state: &str) -> (Control, Instant) {
        let now = Instant::now();
        let binding = if state == "awaiting proof" { ChannelBinding::NONE } else { EXPORTER };
        let mut control = Control::new(Options::new(binding, [9; 32]), now);
        if state != "awaiting hello" {
            receive(&mut control, now, &AgentMessage::Hello(hello(binding))).unwrap();
        }
        if matches!(state, "serving" | "draining" | "ended") {
            control.welcome(&Authorised::by_other_means(), Settings::new("s")).unwrap();
            receive(&mut control, now, &request(1)).unwrap();
        }
        match state {
            "draining" => control.notify(now, Notice::Drain(Drain::new(Duration::from_secs(30)))).unwrap(),
            "ended" => control.notify(now, Notice::Terminate { reason: envelope() }).unwrap(),
            _ => {}
        }
        assert_eq!(control.state(), state);
        (control, now)
    }

    fn receive(control: &mut Control, now: Instant, message: &AgentMessage) -> Result<(), CloseCode> {
        let mut input = BytesMut::from(&message.encode().unwrap()[..]);
        control.receive(now, &mut input).map(drop).map_err(|error| error.close_code())
    }

    fn command(result: Result<(), CommandError>) -> Result<(), CloseCode> {
        result.map_err(|_| CloseCode::INTERNAL)
    }

    fn credential() -> Credential {
        Credential::from_random(CredentialKind::ConnectSecret, 1, [3; 32])
    }

    fn offer(binding: ChannelBinding) -> Offer {
        let mut offer = Offer::new("test/1", [1; 32]);
        offer.credential = Some(credential().id());
        offer.binding = if binding.is_bound() { Binding::TLS_EXPORTER } else { Binding::NONE };
        offer
    }

    /// What an agent with this binding starts with.
    fn hello(binding: ChannelBinding) -> Hello {
        let offer = offer(binding).encode();
        let proof = Transcript::new(binding, None, &offer).agent_proof(&credential());
        Hello { offer, proof: binding.is_bound().then_some(proof) }
    }

    fn request(number: u64) -> AgentMessage {
        let register = Register::new(Protocol::HTTP, Claim::Assigned);
        let number = RequestNumber::new(number).unwrap();
        AgentMessage::Request { number, request: Request::Register(Box::new(register)) }
    }

    fn answer() -> Answer {
        Answer::Registered(Box::new(Registered::new(RegistrationId::FIRST, Generation::FIRST, "a")))
    }

    fn envelope() -> Envelope {
        Refusal::new(Code::FORBIDDEN, "no").with_request_id(RequestId::from_random(1))
    }
}
