//! The agent's machine, from hello to the end.
//!
//! ```text
//!              challenge                welcome               drain
//! AwaitingWelcome ---> AwaitingWelcome ---------> Serving ----------> Draining
//!        |             (challenged)                 |                    |
//!        +------------------ refused, terminate, an error ---------------+---> Ended
//! ```
//!
//! SPEC, "State machines" has every state against every message; the test at the end of this file prints the same
//! table and compares.

use crate::control::{
    AgentMessage, Answer, Binding, CommandError, ControlError, ControlVersions, Deadlines, GatewayMessage,
    Hello, MessageDecoder, Notice, Offer, Request, RequestKind, RequestNumber, SessionLimits, Settings,
    Welcome, after,
};
use crate::credential::{ChannelBinding, Credential, Nonce, Transcript};
use adit_errors::Envelope;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// The agent's side of a control stream, without I/O.
///
/// From below: [`receive`](Self::receive) until it gives `None`, [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says so. From above: [`request`](Self::request), [`leave`](Self::leave). To
/// carry away after each of these: [`poll_output`](Self::poll_output) until it gives `None`.
#[derive(Debug)]
pub struct Control {
    phase: Phase,
    credential: Option<Credential>,
    versions: ControlVersions,
    offer: Bytes,
    deadlines: Deadlines,
    decoder: MessageDecoder,
    /// What the caller is to carry away; it grows by our caller's requests only, one message each, and these are
    /// bounded by `limits.max_pending_requests`.
    output: VecDeque<Bytes>,
    /// Requests made while a challenge may still come; bounded like `pending`.
    held: Vec<Bytes>,
    /// At most `limits.max_pending_requests`.
    pending: BTreeMap<RequestNumber, Pending>,
    next: Option<RequestNumber>,
    limits: SessionLimits,
    /// Messages without meaning to this version, at most [`MAX_IGNORED`].
    ignored: u32,
}

/// What an agent brings to a control stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What it says of itself. `credential` and `binding` are filled in.
    pub offer: Offer,
    /// What it proves itself with; `None` if the carrier did (a client certificate), or nothing needs proof.
    pub credential: Option<Credential>,
    /// What ties the proof to this connection; [`ChannelBinding::NONE`] by default.
    pub binding: ChannelBinding,
    /// How long it waits.
    pub deadlines: Deadlines,
}

impl Options {
    /// An agent with this offer, no credential, no channel binding, and the default deadlines.
    pub fn new(offer: Offer) -> Self {
        Self { offer, credential: None, binding: ChannelBinding::NONE, deadlines: Deadlines::default() }
    }

    /// The same with a credential and what ties its proof to this connection.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential, binding: ChannelBinding) -> Self {
        self.credential = Some(credential);
        self.binding = binding;
        self
    }
}

/// What happened, as the agent is to know it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The gateway let us in.
    Welcomed(Settings),
    /// The gateway did not; the stream has ended.
    Refused(Envelope),
    /// A request has its answer.
    Answered {
        /// The request.
        number: RequestNumber,
        /// The answer, or why there is none.
        answer: Result<Answer, Envelope>,
    },
    /// The gateway says something on its own. After [`Notice::Terminate`] the stream has ended.
    Noticed(Notice),
}

#[derive(Debug)]
enum Phase {
    AwaitingWelcome { deadline: Option<Instant>, transcript: Option<Transcript>, challenge: Challenge },
    Serving,
    Draining { deadline: Option<Instant> },
    Ended,
}

/// Whether a challenge may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    Possible,
    Impossible,
}

#[derive(Debug)]
struct Pending {
    kind: RequestKind,
    deadline: Option<Instant>,
}

/// Newer gateways may say a thing or two that we don't know; a flood of them is abuse.
const MAX_IGNORED: u32 = 1024;

impl Control {
    /// Starts a control stream: the hello is the first output.
    ///
    /// # Errors
    /// [`CommandError::Message`] if the offer breaks a limit.
    pub fn new(options: Options, now: Instant) -> Result<Self, CommandError> {
        let Options { mut offer, credential, binding, deadlines } = options;
        offer.credential = credential.as_ref().map(Credential::id);
        offer.binding = if binding.is_bound() { Binding::TLS_EXPORTER } else { Binding::NONE };
        let octets = offer.encode();
        Offer::decode(octets.clone())?;
        let transcript = credential.as_ref().map(|_| Transcript::new(binding, None, &octets));
        let proof = match (&credential, &transcript) {
            (Some(credential), Some(transcript)) if binding.is_bound() => {
                Some(transcript.agent_proof(credential))
            }
            _ => None,
        };
        let challenge =
            if credential.is_some() && proof.is_none() { Challenge::Possible } else { Challenge::Impossible };
        let hello = AgentMessage::Hello(Hello { offer: octets.clone(), proof }).encode()?;
        Ok(Self {
            phase: Phase::AwaitingWelcome {
                deadline: after(now, deadlines.handshake),
                transcript,
                challenge,
            },
            credential,
            versions: offer.versions,
            offer: octets,
            deadlines,
            decoder: MessageDecoder::new(),
            output: VecDeque::from([hello]),
            held: Vec::new(),
            pending: BTreeMap::new(),
            next: Some(RequestNumber::FIRST),
            limits: SessionLimits::default(),
            ignored: 0,
        })
    }

    /// Takes messages off the front of `input` until one matters to the caller. `None`: append more octets.
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
    /// [`ControlError::Timeout`] or [`ControlError::DrainOver`]: the stream has ended; end the session with its code.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError> {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let error = match self.phase {
            Phase::AwaitingWelcome { deadline, .. } if due(deadline) => {
                ControlError::Timeout { awaited: "the welcome" }
            }
            Phase::Draining { deadline } if due(deadline) => ControlError::DrainOver,
            Phase::Serving | Phase::Draining { .. } if self.pending.values().any(|it| due(it.deadline)) => {
                ControlError::Timeout { awaited: "an answer" }
            }
            Phase::AwaitingWelcome { .. } | Phase::Serving | Phase::Draining { .. } | Phase::Ended => {
                return Ok(());
            }
        };
        self.phase = Phase::Ended;
        Err(error)
    }

    /// Asks for something. May be called before the welcome: the request then travels behind the hello, and saves a
    /// round trip.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was sent.
    pub fn request(&mut self, now: Instant, request: Request) -> Result<RequestNumber, CommandError> {
        let hold = match self.phase {
            Phase::AwaitingWelcome { challenge, .. } => challenge == Challenge::Possible,
            Phase::Serving => false,
            Phase::Draining { .. } if request.kind() != RequestKind::Register => false,
            Phase::Draining { .. } | Phase::Ended => {
                return Err(CommandError::State { state: self.state() });
            }
        };
        let limit = self.limits.max_pending_requests;
        if self.pending.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(CommandError::TooManyRequests { limit });
        }
        let number = self.next.ok_or(CommandError::State { state: "out of request numbers" })?;
        let kind = request.kind();
        let message = AgentMessage::Request { number, request }.encode()?;
        self.next = number.next();
        self.pending.insert(number, Pending { kind, deadline: after(now, self.deadlines.answer) });
        if hold {
            self.held.push(message)
        } else {
            self.output.push_back(message)
        }
        Ok(number)
    }

    /// Tells the gateway that the agent goes: no new streams, and open ones are served for `deadline` more.
    ///
    /// # Errors
    /// [`CommandError::State`] before the welcome and after the end.
    pub fn leave(&mut self, now: Instant, deadline: Duration) -> Result<(), CommandError> {
        if !matches!(self.phase, Phase::Serving | Phase::Draining { .. }) {
            return Err(CommandError::State { state: self.state() });
        }
        self.output.push_back(AgentMessage::Leave { deadline }.encode()?);
        self.phase = Phase::Draining { deadline: after(now, deadline) };
        Ok(())
    }

    /// The next octets to send on the control stream, in this order.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answers = self.pending.values().filter_map(|pending| pending.deadline).min();
        match self.phase {
            Phase::AwaitingWelcome { deadline, .. } => deadline,
            Phase::Serving => answers,
            Phase::Draining { deadline } => deadline.into_iter().chain(answers).min(),
            Phase::Ended => None,
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
            Phase::AwaitingWelcome { challenge: Challenge::Possible, .. } => "awaiting challenge",
            Phase::AwaitingWelcome { .. } => "awaiting welcome",
            Phase::Serving => "serving",
            Phase::Draining { .. } => "draining",
            Phase::Ended => "ended",
        }
    }

    fn receive_some(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Event>, ControlError> {
        while let Some(octets) = self.decoder.decode(input)? {
            if let Some(event) = self.on_message(now, GatewayMessage::decode(octets)?)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn on_message(&mut self, now: Instant, message: GatewayMessage) -> Result<Option<Event>, ControlError> {
        let greeting = matches!(self.phase, Phase::AwaitingWelcome { .. });
        match message {
            GatewayMessage::Challenge(nonce) if greeting => self.on_challenge(&nonce),
            GatewayMessage::Welcome(welcome) if greeting => self.on_welcome(&welcome).map(Some),
            GatewayMessage::Refused { number: None, refusal } if greeting => {
                self.phase = Phase::Ended;
                Ok(Some(Event::Refused(refusal)))
            }
            GatewayMessage::Answer { number, answer } if !greeting => {
                self.on_answer(number, answer).map(Some)
            }
            GatewayMessage::Refused { number: Some(number), refusal } if !greeting => {
                self.pending.remove(&number).ok_or_else(|| self.unexpected("a refusal"))?;
                Ok(Some(Event::Answered { number, answer: Err(refusal) }))
            }
            GatewayMessage::Notice(notice) if !greeting => Ok(Some(self.on_notice(now, notice))),
            GatewayMessage::Unknown { number: None } if !greeting => self.ignore(),
            GatewayMessage::Challenge(_) => Err(self.unexpected("a challenge")),
            GatewayMessage::Welcome(_) => Err(self.unexpected("a welcome")),
            GatewayMessage::Refused { .. } => Err(self.unexpected("a refusal")),
            GatewayMessage::Answer { .. } => Err(self.unexpected("an answer")),
            GatewayMessage::Notice(_) => Err(self.unexpected("a notice")),
            GatewayMessage::Unknown { .. } => Err(self.unexpected("a message of an unknown kind")),
        }
    }

    fn on_challenge(&mut self, nonce: &Nonce) -> Result<Option<Event>, ControlError> {
        let unexpected = self.unexpected("a challenge");
        let Phase::AwaitingWelcome { transcript, challenge, .. } = &mut self.phase else {
            return Err(unexpected);
        };
        let Some(credential) = self.credential.as_ref().filter(|_| *challenge == Challenge::Possible) else {
            return Err(unexpected);
        };
        let challenged = Transcript::new(ChannelBinding::NONE, Some(nonce), &self.offer);
        let proof = AgentMessage::Proof(challenged.agent_proof(credential)).encode()?;
        *challenge = Challenge::Impossible;
        *transcript = Some(challenged);
        self.output.push_back(proof);
        self.output.extend(mem::take(&mut self.held));
        Ok(None)
    }

    fn on_welcome(&mut self, welcome: &Welcome) -> Result<Event, ControlError> {
        let unexpected = self.unexpected("a welcome");
        let Phase::AwaitingWelcome { transcript, challenge: Challenge::Impossible, .. } = &self.phase else {
            // A gateway that asks for no proof of a credential has checked none: it isn't the one that issued it.
            return Err(unexpected);
        };
        if let (Some(credential), Some(transcript)) = (&self.credential, transcript) {
            let expected = transcript.expected_gateway_proof(credential, &welcome.settings);
            let proof = welcome.proof.ok_or(ControlError::Proof)?;
            if !bool::from(proof.to_octets().ct_eq(&expected.to_octets())) {
                return Err(ControlError::Proof);
            }
        }
        let settings = Settings::decode(welcome.settings.clone())?;
        if !self.versions.holds(settings.version) {
            return Err(ControlError::Version);
        }
        self.limits = settings.limits;
        self.phase = Phase::Serving;
        Ok(Event::Welcomed(settings))
    }

    fn on_answer(&mut self, number: RequestNumber, answer: Answer) -> Result<Event, ControlError> {
        match self.pending.remove(&number) {
            Some(pending) if pending.kind == answer.kind() => {
                Ok(Event::Answered { number, answer: Ok(answer) })
            }
            _ => Err(self.unexpected("an answer to another request")),
        }
    }

    fn on_notice(&mut self, now: Instant, notice: Notice) -> Event {
        match &notice {
            Notice::Drain(drain) => self.phase = Phase::Draining { deadline: after(now, drain.deadline) },
            Notice::Terminate { .. } => self.phase = Phase::Ended,
            Notice::Status { .. }
            | Notice::Superseded { .. }
            | Notice::CertificateDue { .. }
            | Notice::SecretRotated { .. } => {}
        }
        Event::Noticed(notice)
    }

    fn ignore(&mut self) -> Result<Option<Event>, ControlError> {
        self.ignored = self.ignored.saturating_add(1);
        if self.ignored > MAX_IGNORED { Err(ControlError::Excessive) } else { Ok(None) }
    }

    const fn unexpected(&self, message: &'static str) -> ControlError {
        ControlError::Unexpected { message, state: self.state() }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a moment to start from")]
mod tests {
    use super::*;
    use crate::control::{Claim, Drain, Generation, Register, Registered, RegistrationId, TunnelStatus};
    use crate::credential::{CredentialKind, GatewayProof};
    use crate::table::{cell, table};
    use crate::{CloseCode, Protocol};
    use adit_errors::{Code, Refusal, RequestId};

    const STATES: [&str; 5] = ["awaiting challenge", "awaiting welcome", "serving", "draining", "ended"];

    type Apply = fn(&mut Control, Instant) -> Result<(), CloseCode>;

    /// What a peer may send, our caller may ask for, and time may bring.
    const EVENTS: [(&str, Apply); 18] = [
        ("< challenge", |it, now| receive(it, now, &GatewayMessage::Challenge([5; 32]))),
        ("< welcome", |it, now| {
            let welcome = welcome(it);
            receive(it, now, &GatewayMessage::Welcome(welcome))
        }),
        ("< welcome, wrong proof", |it, now| {
            let mut welcome = welcome(it);
            welcome.proof = Some(GatewayProof::from_octets([0; 32]));
            receive(it, now, &GatewayMessage::Welcome(welcome))
        }),
        ("< refused, no number", |it, now| receive(it, now, &refused(None))),
        ("< refused", |it, now| receive(it, now, &refused(Some(RequestNumber::FIRST)))),
        ("< answer", |it, now| receive(it, now, &answer(RequestNumber::FIRST))),
        ("< answer of another kind", |it, now| {
            let answer = Answer::Unregistered { registration: RegistrationId::FIRST };
            receive(it, now, &GatewayMessage::Answer { number: RequestNumber::FIRST, answer })
        }),
        ("< answer to nothing", |it, now| receive(it, now, &answer(RequestNumber::new(9).unwrap()))),
        ("< status", |it, now| {
            let (registration, status) = (RegistrationId::FIRST, TunnelStatus::PAUSED);
            receive(it, now, &notice(Notice::Status { registration, status, reason: None }))
        }),
        ("< superseded", |it, now| {
            let (registration, generation) = (RegistrationId::FIRST, Generation::FIRST);
            receive(it, now, &notice(Notice::Superseded { registration, generation }))
        }),
        ("< drain", |it, now| receive(it, now, &notice(Notice::Drain(Drain::new(Duration::from_secs(30)))))),
        ("< terminate", |it, now| receive(it, now, &notice(Notice::Terminate { reason: envelope() }))),
        ("< unknown kind", |it, now| receive(it, now, &GatewayMessage::Unknown { number: None })),
        ("< not protobuf", |it, now| {
            let mut input = BytesMut::from(&b"\0\0\0\x01\xff"[..]);
            it.receive(now, &mut input).map(drop).map_err(|error| error.close_code())
        }),
        ("> register", |it, now| command(it.request(now, register()).map(drop))),
        ("> unregister", |it, now| {
            let registration = RegistrationId::FIRST;
            command(it.request(now, Request::Unregister { registration }).map(drop))
        }),
        ("> leave", |it, now| command(it.leave(now, Duration::from_secs(30)))),
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
        assert!(include_str!("../../SPEC.md").contains(&table), "SPEC.md has another table for the agent");
    }

    #[test]
    fn w16_a_version_that_was_not_offered_is_refused() {
        let (mut control, now) = reach("awaiting welcome");
        let mut settings = Settings::new("s");
        settings.version = crate::control::ControlVersion::from_u32(2);
        let settings = settings.encode();
        let proof = Some(proof(&control, &settings));
        let error = receive(&mut control, now, &GatewayMessage::Welcome(Welcome { settings, proof }));
        assert_eq!(error, Err(CloseCode::UNSUPPORTED_VERSION));
    }

    #[test]
    fn w27_a_gateway_without_the_credential_is_not_believed_and_learns_nothing() {
        let (mut control, now) = reach("awaiting welcome");
        let hello = hello(&mut control);
        let secret = credential().reveal();
        assert!(
            !hello.windows(8).any(|window| secret.as_bytes()[21..].windows(8).any(|part| part == window))
        );
        assert!(!hello.windows(8).any(|window| window == [3; 8]));
        let welcome = Welcome { settings: Settings::new("s").encode(), proof: None };
        let error = receive(&mut control, now, &GatewayMessage::Welcome(welcome));
        assert_eq!(error, Err(CloseCode::AUTH_FAILED));
        assert!(control.is_ended());
    }

    #[test]
    fn requests_made_before_the_welcome_travel_behind_the_hello_or_the_proof() {
        let (mut control, now) = reach("awaiting welcome");
        control.request(now, register()).unwrap();
        assert_eq!(std::iter::from_fn(|| control.poll_output()).count(), 2);

        let (mut control, now) = reach("awaiting challenge");
        control.request(now, register()).unwrap();
        assert_eq!(std::iter::from_fn(|| control.poll_output()).count(), 1);
        receive(&mut control, now, &GatewayMessage::Challenge([5; 32])).unwrap();
        assert_eq!(std::iter::from_fn(|| control.poll_output()).count(), 2);
    }

    #[test]
    fn no_more_requests_await_answers_than_the_limit_allows() {
        let (mut control, now) = reach("serving");
        let sent = (0..40).take_while(|_| control.request(now, register()).is_ok()).count();
        assert_eq!(sent, 31, "one awaits its answer from before");
        assert_eq!(control.request(now, register()), Err(CommandError::TooManyRequests { limit: 32 }));
    }

    #[test]
    fn a_flood_of_unknown_messages_is_excessive() {
        let (mut control, now) = reach("serving");
        let flood = |control: &mut Control| receive(control, now, &GatewayMessage::Unknown { number: None });
        for _ in 0..MAX_IGNORED {
            flood(&mut control).unwrap();
        }
        assert_eq!(flood(&mut control), Err(CloseCode::ENHANCE_CALM));
    }

    #[test]
    fn w29_no_secret_in_the_debug_text_of_a_machine() {
        let (control, _) = reach("awaiting welcome");
        let shown = format!("{control:?}");
        assert!(!shown.contains("3, 3, 3, 3") && !shown.contains(&credential().reveal()[21..40]), "{shown}");
    }

    /// A machine in this state, with one register awaiting its answer where that is possible.
    fn reach(state: &str) -> (Control, Instant) {
        let now = Instant::now();
        let binding = match state {
            "awaiting challenge" => ChannelBinding::NONE,
            _ => ChannelBinding::tls_exporter([7; 32]),
        };
        let options = Options::new(Offer::new("test/1", [1; 32])).with_credential(credential(), binding);
        let mut control = Control::new(options, now).unwrap();
        if matches!(state, "serving" | "draining" | "ended") {
            let _ = hello(&mut control);
            let welcome = welcome(&control);
            receive(&mut control, now, &GatewayMessage::Welcome(welcome)).unwrap();
            control.request(now, register()).unwrap();
        }
        match state {
            "draining" => {
                let drain = Drain::new(Duration::from_secs(30));
                receive(&mut control, now, &notice(Notice::Drain(drain))).unwrap();
            }
            "ended" => {
                receive(&mut control, now, &notice(Notice::Terminate { reason: envelope() })).unwrap();
            }
            _ => {}
        }
        assert_eq!(control.state(), state);
        (control, now)
    }

    fn hello(control: &mut Control) -> Bytes {
        control.poll_output().unwrap()
    }

    fn receive(control: &mut Control, now: Instant, message: &GatewayMessage) -> Result<(), CloseCode> {
        let mut input = BytesMut::from(&message.encode().unwrap()[..]);
        control.receive(now, &mut input).map(drop).map_err(|error| error.close_code())
    }

    fn command(result: Result<(), CommandError>) -> Result<(), CloseCode> {
        result.map_err(|_| CloseCode::INTERNAL)
    }

    fn credential() -> Credential {
        Credential::from_random(CredentialKind::ConnectSecret, 1, [3; 32])
    }

    /// The welcome of a gateway that knows the credential.
    fn welcome(control: &Control) -> Welcome {
        let settings = Settings::new("s").encode();
        let proof = Some(proof(control, &settings));
        Welcome { settings, proof }
    }

    fn proof(control: &Control, settings: &Bytes) -> GatewayProof {
        let transcript = Transcript::new(ChannelBinding::tls_exporter([7; 32]), None, &control.offer);
        transcript.expected_gateway_proof(&credential(), settings)
    }

    fn register() -> Request {
        Request::Register(Box::new(Register::new(Protocol::HTTP, Claim::Assigned)))
    }

    fn answer(number: RequestNumber) -> GatewayMessage {
        let registered = Registered::new(RegistrationId::FIRST, Generation::FIRST, "a");
        GatewayMessage::Answer { number, answer: Answer::Registered(Box::new(registered)) }
    }

    fn refused(number: Option<RequestNumber>) -> GatewayMessage {
        GatewayMessage::Refused { number, refusal: envelope() }
    }

    fn notice(notice: Notice) -> GatewayMessage {
        GatewayMessage::Notice(notice)
    }

    fn envelope() -> Envelope {
        Refusal::new(Code::FORBIDDEN, "no").with_request_id(RequestId::from_random(1))
    }
}
