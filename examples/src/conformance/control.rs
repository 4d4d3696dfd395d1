//! The control stream from our side: what has to be computed, and what is heard.

use super::peer::{Inbox, Peer};
use super::player::Failure;
use super::wire;
use crate::{BoxError, random};
use adit_wire_proto::agent;
use adit_wire_proto::control::{
    Answer, GatewayMessage, Generation, MAX_MESSAGE_BYTES, Notice, Offer, Registered, RegistrationId,
    Request, Settings,
};
use adit_wire_proto::credential::{
    ChannelBinding, Credential, CredentialKind, GatewayProof, StoredCredential,
};
use adit_wire_proto::frame::{Frame, MAX_DATA_BYTES};
use adit_wire_proto::gateway;
use bytes::{Bytes, BytesMut};
use std::time::{Instant, SystemTime};

/// The control stream's id (SPEC 6 rule 1).
pub(super) const CONTROL: u32 = 1;

/// Sends octets on the control stream.
pub(super) async fn send(peer: &mut Peer, octets: &Bytes) {
    for chunk in octets.chunks(usize::from(MAX_DATA_BYTES)) {
        let payload = Bytes::copy_from_slice(chunk);
        peer.send(&wire::encode(&Frame::Data { id: CONTROL, payload, fin: false })).await;
    }
}

/// A control message in protobuf, with its length in front.
pub(super) fn prefixed(message: &[u8]) -> Result<Bytes, BoxError> {
    let mut octets = u32::try_from(message.len())?.to_be_bytes().to_vec();
    octets.extend(message);
    Ok(octets.into())
}

/// The next control message, with its length in front.
async fn receive(peer: &mut Peer) -> Result<BytesMut, Failure> {
    let whole = |inbox: &Inbox| {
        announced(inbox).is_some_and(|length| length > MAX_MESSAGE_BYTES || inbox.octets.len() >= 4 + length)
    };
    let inbox = peer.inbox(CONTROL, |inbox| whole(inbox) || inbox.is_ended).await?;
    match announced(inbox) {
        Some(length) if length > MAX_MESSAGE_BYTES => {
            Err(Failure::new("6 rule 3", format!("a control message of {length} octets")))
        }
        Some(length) if inbox.octets.len() >= 4 + length => Ok(inbox.octets.split_to(4 + length)),
        _ => Err(Failure::new("6 rule 5", "the control stream ended")),
    }
}

fn announced(inbox: &Inbox) -> Option<usize> {
    let length = inbox.octets.first_chunk::<4>()?;
    Some(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX))
}

/// An agent's side: says hello, and checks who welcomes it.
pub(super) struct AgentSide {
    machine: Option<agent::Control>,
}

impl AgentSide {
    pub(super) const fn new() -> Self {
        Self { machine: None }
    }

    /// Says hello with `credential`, bound as `binding` says.
    pub(super) async fn hello(
        &mut self,
        peer: &mut Peer,
        credential: Credential,
        binding: ChannelBinding,
    ) -> Result<(), Failure> {
        let offer = Offer::new(concat!("adit-conformance/", env!("CARGO_PKG_VERSION")), random::octets());
        let options = agent::Options::new(offer).with_credential(credential, binding);
        let mut machine = agent::Control::new(options, Instant::now()).map_err(Failure::own)?;
        flush(peer, || machine.poll_output()).await;
        self.machine = Some(machine);
        Ok(())
    }

    /// The next message after the challenge, which is answered here.
    pub(super) async fn hear(&mut self, peer: &mut Peer) -> Result<GatewayMessage, Failure> {
        loop {
            let mut octets = receive(peer).await?;
            let message = GatewayMessage::decode(octets.clone().freeze().slice(4..))
                .map_err(|error| Failure::new("6 rule 4", error.to_string()))?;
            let Some(machine) = &mut self.machine else { return Ok(message) };
            machine
                .receive(Instant::now(), &mut octets)
                .map_err(|error| Failure::new("7.3 and 14.1", error.to_string()))?;
            flush(peer, || machine.poll_output()).await;
            if !matches!(message, GatewayMessage::Challenge(_)) {
                // What follows answers requests that the script sent by itself.
                self.machine = None;
                return Ok(message);
            }
        }
    }
}

/// Another secret under the id of `credential`.
pub(super) fn wrong_secret(credential: &Credential) -> Credential {
    let id = credential.id();
    Credential::from_random(id.kind(), id.nonce(), random::octets())
}

/// A credential that nobody has given out.
pub(super) fn unknown_credential() -> Credential {
    Credential::from_random(CredentialKind::ConnectSecret, random::number(), random::octets())
}

/// A gateway's side: lets the agent in, and gives it what it asks for.
pub(super) struct GatewaySide {
    machine: gateway::Control,
}

impl GatewaySide {
    pub(super) fn new(binding: ChannelBinding) -> Self {
        let options = gateway::Options::new(binding, random::octets());
        Self { machine: gateway::Control::new(options, Instant::now()) }
    }

    /// Waits for the agent's hello, checks its proof, and makes the welcome, which isn't sent.
    pub(super) async fn welcome(
        &mut self,
        peer: &mut Peer,
        credential: &StoredCredential,
    ) -> Result<Bytes, Failure> {
        let event = self.event(peer).await?;
        let gateway::Event::Hello(offer) = event else {
            return Err(Failure::new("6 rule 1", "the first message is no hello"));
        };
        if offer.credential != Some(credential.id()) {
            return Err(Failure::new("7.2", "the agent presents another credential: give it this program's"));
        }
        let authorised = self
            .machine
            .check(credential.candidates(SystemTime::now()))
            .map_err(|_| Failure::new("7.3", "the agent's proof is wrong"))?;
        self.machine.welcome(&authorised, Settings::new("conformance")).map_err(Failure::own)?;
        self.machine.poll_output().ok_or_else(|| Failure::own("there is no welcome"))
    }

    /// Waits for a registration, and grants it as number 1 of generation 1.
    pub(super) async fn register(&mut self, peer: &mut Peer) -> Result<(), Failure> {
        let gateway::Event::Requested { number, request: Request::Register(_) } = self.event(peer).await?
        else {
            return Err(Failure::new("9", "the agent's first request registers nothing"));
        };
        let registered = Registered::new(RegistrationId::FIRST, Generation::FIRST, "conformance");
        let answer = Answer::Registered(Box::new(registered));
        self.machine.answer(number, answer).map_err(Failure::own)?;
        flush(peer, || self.machine.poll_output()).await;
        Ok(())
    }

    async fn event(&mut self, peer: &mut Peer) -> Result<gateway::Event, Failure> {
        loop {
            let mut octets = receive(peer).await?;
            let event = self
                .machine
                .receive(Instant::now(), &mut octets)
                .map_err(|error| Failure::new("14.2", error.to_string()))?;
            flush(peer, || self.machine.poll_output()).await;
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }
}

/// The same welcome with another proof, or none.
pub(super) fn with_proof(welcome: &Bytes, proof: Option<[u8; 32]>) -> Result<Bytes, BoxError> {
    match GatewayMessage::decode(welcome.slice(4..))? {
        GatewayMessage::Welcome(mut welcome) => {
            welcome.proof = proof.map(GatewayProof::from_octets);
            Ok(GatewayMessage::Welcome(welcome).encode()?)
        }
        _ => Err("it is no welcome".into()),
    }
}

async fn flush(peer: &mut Peer, mut output: impl FnMut() -> Option<Bytes>) {
    while let Some(octets) = output() {
        send(peer, &octets).await;
    }
}

/// What a message is, in the words of the `.proto` file, and the request that it answers.
pub(super) fn kind(message: &GatewayMessage) -> (&'static str, u64) {
    match message {
        GatewayMessage::Challenge(_) => ("challenge", 0),
        GatewayMessage::Welcome(_) => ("welcome", 0),
        GatewayMessage::Refused { number, .. } => ("refused", number.map_or(0, |number| number.as_u64())),
        GatewayMessage::Answer { number, answer } => (answer_kind(answer), number.as_u64()),
        GatewayMessage::Notice(notice) => (notice_kind(notice), 0),
        _ => ("unknown", 0),
    }
}

const fn answer_kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Registered(_) => "registered",
        Answer::Unregistered { .. } => "unregistered",
        Answer::Renewed { .. } => "renewed",
        Answer::Certificate(_) => "certificate",
        Answer::RotatedSecret(_) => "rotated-secret",
        Answer::Status { .. } => "status",
        _ => "unknown",
    }
}

const fn notice_kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::Superseded { .. } => "superseded",
        Notice::Drain(_) => "drain",
        Notice::Terminate { .. } => "terminate",
        Notice::SecretRotated { .. } => "secret-rotated",
        _ => "notice",
    }
}
