//! The wire protocol: every decoder, and whole sessions.

use adit_wire_proto::control::{
    AgentMessage, Answer, GatewayMessage, Notice, Offer, Request, RequestNumber, Settings,
};
use adit_wire_proto::credential::{ChannelBinding, Credential, CredentialKind};
use adit_wire_proto::datagram::{Datagram, RecordDecoder, encode_record};
use adit_wire_proto::frame::{Conduct, Decoder, Dialled, Frame, Hello, VersionRange};
use adit_wire_proto::{StreamHead, agent, gateway};
use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

/// Frames: octet by octet is the same as all at once, and what was read is written as it was, but for what has no
/// meaning. The order of frames never panics.
pub fn wire_frame(data: &[u8]) {
    let at_once = frames([data].into_iter());
    assert_eq!(at_once, frames(data.chunks(1)));
    let mut conduct = Conduct::of(Dialled::ByPeer, VersionRange::OURS);
    let now = Instant::now();
    for frame in &at_once {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        let again = Decoder::new().decode(&mut wire).expect("what we write, we read");
        assert_eq!(again.as_ref(), Some(frame));
        assert!(wire.is_empty());
        if conduct.receive(now, frame).is_err() {
            return;
        }
    }
}

fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut decoder, mut input, mut out) = (Decoder::new(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err(_) => return out,
            }
        }
    }
    out
}

/// The body of a HELLO: what was read and written again reads as the same.
pub fn wire_hello(data: &[u8]) {
    let Ok(hello) = Hello::decode(data) else { return };
    let mut body = Vec::new();
    hello.encode(&mut body);
    assert_eq!(Hello::decode(&body).as_ref(), Ok(&hello));
    assert!(body.len() <= data.len(), "a value has one encoding, and unknown parameters only make it longer");
}

/// Control messages of both sides: what was read and written again reads as the same.
pub fn wire_control_message(data: &[u8]) {
    let octets = Bytes::copy_from_slice(data);
    if let Ok(message) = AgentMessage::decode(octets.clone()) {
        let wire = message.encode().expect("what we read, we may write");
        assert_eq!(AgentMessage::decode(wire.slice(4..)).as_ref(), Ok(&message));
    }
    if let Ok(message) = GatewayMessage::decode(octets.clone()) {
        let wire = message.encode().expect("what we read, we may write");
        let again = GatewayMessage::decode(wire.slice(4..)).and_then(|message| message.encode());
        assert_eq!(again, Ok(wire));
    }
    if let Ok(offer) = Offer::decode(octets.clone()) {
        assert_eq!(Offer::decode(offer.encode()).as_ref(), Ok(&offer));
    }
    if let Ok(settings) = Settings::decode(octets) {
        assert_eq!(Settings::decode(settings.encode()).as_ref(), Ok(&settings));
    }
}

/// Stream heads, alone and behind their length.
pub fn wire_stream_head(data: &[u8]) {
    if let Ok(head) = StreamHead::decode(Bytes::copy_from_slice(data)) {
        let mut wire = BytesMut::new();
        head.encode_prefixed(&mut wire);
        assert_eq!(StreamHead::decode_prefixed(&mut wire), Ok(Some(head)));
    }
    let whole = StreamHead::decode_prefixed(&mut BytesMut::from(data));
    let mut input = BytesMut::new();
    for octet in data {
        input.extend_from_slice(&[*octet]);
        let part = StreamHead::decode_prefixed(&mut input);
        if part != Ok(None) {
            assert_eq!(part, whole);
            return;
        }
    }
    assert_eq!(whole, Ok(None));
}

/// Datagrams and the records that stand in for them.
pub fn wire_datagram(data: &[u8]) {
    if let Ok(datagram) = Datagram::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(datagram.encode(), data);
    }
    let (mut input, mut written, mut decoder) = (BytesMut::from(data), BytesMut::new(), RecordDecoder::new());
    while let Ok(Some(record)) = decoder.decode(&mut input) {
        encode_record(&record, &mut written).expect("what we read, we may write");
    }
    assert_eq!([&written[..], &input].concat(), data);
}

/// Credentials: one spelling each, and nothing of the text in what is shown.
pub fn wire_credential(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Credential>() {
        Ok(credential) => {
            assert_eq!(*credential.reveal(), text);
            assert!(!format!("{credential:?}").contains(&text[21..]));
        }
        // The error is a plain value: it has no room for anything of the text.
        Err(error) => assert_eq!(size_of_val(&error), 1),
    }
}

/// What may happen to a session: messages by either side, honest commands, and time.
#[derive(Arbitrary, Debug)]
enum Step {
    FromAgent(AgentMessage),
    FromGateway(GatewayMessage),
    Ask(Request),
    Answer(Answer),
    Tell(Notice),
    Leave(u16),
    Wait(u16),
    Cut(u8),
}

/// Two machines, with messages slipped in between by a stranger. Neither panics, both stay ended once they have ended,
/// and without the stranger neither ever blames the other.
pub fn wire_session(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let bound = u.arbitrary().unwrap_or(true);
    let mut pair = Pair::new(bound);
    while let Ok(step) = Step::arbitrary(&mut u) {
        pair.take(step);
        if u.is_empty() || pair.agent.is_ended() && pair.gateway.is_ended() {
            return;
        }
    }
}

struct Pair {
    agent: agent::Control,
    gateway: gateway::Control,
    credential: Credential,
    to_agent: BytesMut,
    to_gateway: BytesMut,
    asked: Vec<RequestNumber>,
    now: Instant,
    is_honest: bool,
}

impl Pair {
    fn new(bound: bool) -> Self {
        let now = Instant::now();
        let credential = Credential::from_random(CredentialKind::CapabilityToken, 1, [3; 32]);
        let binding = if bound { ChannelBinding::tls_exporter([7; 32]) } else { ChannelBinding::NONE };
        let options = agent::Options::new(Offer::new("fuzz", [1; 32]));
        let options = options.with_credential(credential.clone(), binding);
        Self {
            agent: agent::Control::new(options, now).expect("a small offer"),
            gateway: gateway::Control::new(gateway::Options::new(binding, [9; 32]), now),
            credential,
            to_agent: BytesMut::new(),
            to_gateway: BytesMut::new(),
            asked: Vec::new(),
            now,
            is_honest: true,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::FromAgent(message) => {
                self.is_honest = false;
                self.to_gateway.extend_from_slice(&message.encode().unwrap_or_default());
            }
            Step::FromGateway(message) => {
                self.is_honest = false;
                self.to_agent.extend_from_slice(&message.encode().unwrap_or_default());
            }
            Step::Ask(request) => drop(self.agent.request(self.now, request)),
            Step::Answer(answer) => {
                if let Some(number) = self.asked.pop() {
                    let _ = self.gateway.answer(number, answer);
                }
            }
            Step::Tell(notice) => drop(self.gateway.notify(self.now, notice)),
            Step::Leave(millis) => {
                let _ = self.agent.leave(self.now, Duration::from_millis(millis.into()));
            }
            Step::Wait(millis) => self.wait(millis),
            Step::Cut(at) => {
                // A stranger loses the rest of what is on its way.
                self.is_honest = false;
                self.to_agent.truncate(at.into());
            }
        }
        self.exchange();
    }

    fn wait(&mut self, millis: u16) {
        self.now += Duration::from_millis(millis.into());
        let _ = self.agent.handle_timeout(self.now);
        let _ = self.gateway.handle_timeout(self.now);
        assert!(self.agent.poll_timeout().is_none_or(|at| at > self.now));
        assert!(self.gateway.poll_timeout().is_none_or(|at| at > self.now));
    }

    fn exchange(&mut self) {
        loop {
            let before = (self.to_agent.len(), self.to_gateway.len());
            while let Some(octets) = self.agent.poll_output() {
                self.to_gateway.extend_from_slice(&octets);
            }
            self.serve();
            while let Some(octets) = self.gateway.poll_output() {
                self.to_agent.extend_from_slice(&octets);
            }
            self.listen();
            if before == (self.to_agent.len(), self.to_gateway.len()) {
                return;
            }
        }
    }

    fn serve(&mut self) {
        if self.gateway.is_ended() {
            assert!(self.gateway.receive(self.now, &mut self.to_gateway).is_err());
            self.to_gateway.clear();
            return;
        }
        loop {
            match self.gateway.receive(self.now, &mut self.to_gateway) {
                Ok(None) => return,
                Ok(Some(gateway::Event::Hello(_))) => self.judge(),
                Ok(Some(gateway::Event::Requested { number, .. })) => self.asked.push(number),
                Ok(Some(_)) => {}
                Err(error) => {
                    assert!(!self.is_honest, "an honest agent was blamed: {error}");
                    assert!(self.gateway.is_ended());
                    return;
                }
            }
        }
    }

    fn judge(&mut self) {
        let verifier = self.credential.verifier();
        match self.gateway.check([Some(&verifier), None]) {
            Ok(authorised) => self.gateway.welcome(&authorised, Settings::new("s")).expect("a small welcome"),
            Err(_) => {
                assert!(!self.is_honest, "an honest agent was not let in");
                let other = gateway::Authorised::by_other_means();
                self.gateway.welcome(&other, Settings::new("s")).expect("a small welcome");
            }
        }
    }

    fn listen(&mut self) {
        if self.agent.is_ended() {
            assert!(self.agent.receive(self.now, &mut self.to_agent).is_err());
            self.to_agent.clear();
            return;
        }
        loop {
            match self.agent.receive(self.now, &mut self.to_agent) {
                Ok(None) => return,
                Ok(Some(agent::Event::Noticed(Notice::Terminate { .. }) | agent::Event::Refused(_))) => {
                    assert!(self.agent.is_ended());
                    return;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    assert!(!self.is_honest, "an honest gateway was blamed: {error}");
                    assert!(self.agent.is_ended());
                    return;
                }
            }
        }
    }
}

/// Session scripts that are frames: any order of them is judged without a panic, and the judge never takes more opens
/// than were sent.
pub fn wire_script(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut conduct = Conduct::of(Dialled::ByUs, VersionRange::OURS);
    let (mut wire, mut now, mut decoder) = (BytesMut::new(), Instant::now(), Decoder::new());
    let mut next = 2_u32;
    while let Ok((frame, millis)) = <(Frame, u8)>::arbitrary(&mut u) {
        now += Duration::from_millis(millis.into());
        frame.encode(&mut wire);
        let read = decoder.decode(&mut wire).expect("what we write, we read").expect("a whole frame");
        assert_eq!(read, frame);
        if let Err(error) = conduct.receive(now, &read) {
            assert_ne!(error.close_code(), adit_wire_proto::CloseCode::NONE);
            return;
        }
        if let Frame::Open { id, .. } = read {
            assert_eq!(id, next);
            next += 2;
        }
        if u.is_empty() {
            break;
        }
    }
}
