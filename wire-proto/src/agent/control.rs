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
    /// [`ControlError::Timeout`]: the stream has ended; end the session with its code.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ControlError> {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let is_answer_due = self.pending.values().any(|pending| due(pending.deadline));
        let (is_due, awaited) = match self.phase {
            Phase::AwaitingWelcome { deadline, .. } => (due(deadline), "the welcome"),
            Phase::Draining { deadline } if due(deadline) => (true, "the end of the drain"),
            Phase::Serving | Phase::Draining { .. } => (is_answer_due, "an answer"),
            Phase::Ended => (false, "nothing"),
        };
        if !is_due {
            return Ok(());
        }
        self.phase = Phase::Ended;
        Err(ControlError::Timeout { awaited })
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
