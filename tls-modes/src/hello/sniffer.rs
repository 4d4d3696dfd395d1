use std::time::{Duration, Instant};

use crate::hello::{ClientHello, HelloError, Malformation};
use crate::reader::Reader;

/// Finds the ClientHello at the start of a TCP stream, however the stream is cut into segments and the hello into
/// records, and keeps every byte for replay.
///
/// Bytes go in through [`receive`](Self::receive); the end of the stream and the passing of the deadline have methods
/// of their own. Once there is an answer it stays: later bytes are kept, and looked at by nobody.
///
/// ```text
///                      receive                        receive
///  AwaitingRecord ----------------> InRecord ----------------------> Answered(Ok(hello))
///        ^    |                      |   |        hello complete
///        |    | bad header           |   | bad message, too large
///        |    +----------------------|---+-----> Answered(Err(error))
///        +---------------------------+                  ^
///            record used up             receive_end,    |
///                                       handle_timeout, give_way, from any other state
/// ```
///
/// Costs: each byte is looked at once, or twice if the hello spans records; memory is at most four times what was
/// received (the growth of a vector, and once more for a hello that spans records).
#[derive(Debug)]
pub struct Sniffer {
    limits: SniffLimits,
    received: Vec<u8>,
    /// How far the records have been read. Invariant: `scanned <= received.len()`.
    scanned: usize,
    message: Message,
    phase: Phase,
}

impl Sniffer {
    /// A sniffer that has received nothing.
    pub fn new(limits: SniffLimits) -> Self {
        Self {
            limits,
            received: Vec::new(),
            scanned: 0,
            message: Message::default(),
            phase: Phase::AwaitingRecord,
        }
    }

    /// Takes bytes from the stream, in order, and says what is known by now.
    pub fn receive(&mut self, bytes: &[u8]) -> Sniff<'_> {
        self.received.extend_from_slice(bytes);
        self.advance();
        self.verdict()
    }

    /// Takes the end of the stream.
    pub fn receive_end(&mut self) -> Sniff<'_> {
        self.give_up(HelloError::Eof { received_bytes: self.received.len() })
    }

    /// Takes the passing of the deadline: [`SniffLimits::timeout`] after the connection was accepted.
    pub fn handle_timeout(&mut self) -> Sniff<'_> {
        self.give_up(HelloError::DeadlinePassed)
    }

    /// Takes the loss of its place in a [`HelloRoom`](crate::HelloRoom): its memory is wanted for newer connections.
    pub fn give_way(&mut self) -> Sniff<'_> {
        self.give_up(HelloError::GaveWay)
    }

    /// What is known by now.
    pub fn verdict(&self) -> Sniff<'_> {
        match &self.phase {
            Phase::AwaitingRecord | Phase::InRecord { .. } => Sniff::NeedMore,
            Phase::Answered(Ok(hello)) => Sniff::Hello(hello),
            Phase::Answered(Err(error)) => Sniff::Refused(*error),
        }
    }

    /// Everything received, untouched, whatever the verdict.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Gives up the sniffer for the answer, if there is one, and everything received: those bytes must reach whoever
    /// speaks TLS with the client, ahead of what is read from now on.
    pub fn into_parts(self) -> (Option<Result<ClientHello, HelloError>>, Vec<u8>) {
        let answer = match self.phase {
            Phase::AwaitingRecord | Phase::InRecord { .. } => None,
            Phase::Answered(answer) => Some(answer),
        };
        (answer, self.received)
    }

    fn give_up(&mut self, error: HelloError) -> Sniff<'_> {
        match self.phase {
            Phase::AwaitingRecord | Phase::InRecord { .. } => self.phase = Phase::Answered(Err(error)),
            Phase::Answered(_) => {}
        }
        self.verdict()
    }

    fn advance(&mut self) {
        loop {
            let step = match self.phase {
                Phase::AwaitingRecord => self.read_record_header(),
                Phase::InRecord { ends_at } => self.read_fragment(ends_at),
                Phase::Answered(_) => return,
            };
            match step {
                Ok(Some(phase)) => self.phase = phase,
                Ok(None) => return,
                Err(error) => self.phase = Phase::Answered(Err(error)),
            }
        }
    }

    fn read_record_header(&mut self) -> Result<Option<Phase>, HelloError> {
        let first = self.scanned == 0;
        let Some(bytes) = read_record_length(self.unscanned(), first)? else {
            return Ok(None);
        };
        self.scanned += RECORD_HEADER_BYTES;
        self.check_size()?;
        Ok(Some(Phase::InRecord { ends_at: self.scanned + usize::from(bytes) }))
    }

    fn read_fragment(&mut self, ends_at: usize) -> Result<Option<Phase>, HelloError> {
        let arrived = ends_at.min(self.received.len());
        let fragment = self.received.get(self.scanned..arrived).unwrap_or_default();
        if fragment.is_empty() {
            return Ok(None);
        }
        let used = self.message.receive(fragment)?;
        self.scanned += used;
        self.check_size()?;
        if self.message.is_complete() {
            return self.read_hello().map(|hello| Some(Phase::Answered(Ok(hello))));
        }
        Ok((self.scanned == ends_at).then_some(Phase::AwaitingRecord))
    }

    /// Refuses as soon as the hello cannot end within the cap any more, before any byte of it is waited for.
    fn check_size(&self) -> Result<(), HelloError> {
        let limit_bytes = self.limits.max_stream_bytes;
        let ends_at_the_earliest = self.scanned.saturating_add(self.message.missing_bytes());
        if ends_at_the_earliest > limit_bytes { Err(HelloError::TooLarge { limit_bytes }) } else { Ok(()) }
    }

    fn read_hello(&self) -> Result<ClientHello, HelloError> {
        let stream = self.received.get(..self.scanned).unwrap_or_default();
        let (header, fragments) = stream.split_at_checked(RECORD_HEADER_BYTES).unwrap_or_default();
        let only_record = fragments.len() <= usize::from(record_length(header));
        if only_record {
            return ClientHello::from_body(fragments.get(HANDSHAKE_HEADER_BYTES..).unwrap_or_default());
        }
        let message = join_fragments(stream);
        ClientHello::from_body(message.get(HANDSHAKE_HEADER_BYTES..).unwrap_or_default())
    }

    fn unscanned(&self) -> &[u8] {
        self.received.get(self.scanned..).unwrap_or_default()
    }
}

/// What a [`Sniffer`] knows by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "yes, no and not yet: there is no fourth answer")]
pub enum Sniff<'a> {
    /// Nothing yet: go on reading until the deadline.
    NeedMore,
    /// The hello is complete. What follows it on the stream has not been looked at.
    Hello(&'a ClientHello),
    /// No longer stream could lead to a hello: send [`HelloError::alert`] if there is one, and close.
    Refused(HelloError),
}

/// How long and how large a first flight may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SniffLimits {
    max_stream_bytes: usize,
    timeout: Duration,
}

impl SniffLimits {
    /// The defaults: 65,535 bytes of stream, 10 seconds.
    pub const fn new() -> Self {
        Self { max_stream_bytes: DEFAULT_MAX_STREAM_BYTES, timeout: DEFAULT_TIMEOUT }
    }

    /// Sets how many bytes of stream, with record headers, the hello must end within.
    ///
    /// Default 65,535. A browser needs 2,000; the largest hello seen in the wild has 21,596. Each connection that has
    /// not yet said hello may hold about twice this much memory. Below 50 no hello fits, and all are refused.
    #[must_use]
    pub const fn max_stream_bytes(mut self, bytes: usize) -> Self {
        self.max_stream_bytes = bytes;
        self
    }

    /// Sets how long the hello may take, counted from the accepting of the connection. Default 10 seconds.
    ///
    /// The time is not renewed by bytes that arrive: who drips them is cut off as well.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The moment to call [`Sniffer::handle_timeout`], or `None` if it lies beyond what the clock can say.
    pub fn deadline(&self, accepted: Instant) -> Option<Instant> {
        accepted.checked_add(self.timeout)
    }
}

impl Default for SniffLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
enum Phase {
    AwaitingRecord,
    /// Invariant: `scanned < ends_at`, where `ends_at` is the place in the stream after the record.
    InRecord {
        ends_at: usize,
    },
    Answered(Result<ClientHello, HelloError>),
}

/// The handshake message, across records.
///
/// ```text
///  byte  0      1              4
///       +------+--------------+---------------------
///       | 0x01 | length u24   | ClientHello body ...
///       +------+--------------+---------------------
/// ```
#[derive(Debug, Default)]
enum Message {
    #[default]
    AwaitingType,
    AwaitingLength {
        so_far: usize,
        length_bytes_missing: u8,
    },
    InBody {
        missing_bytes: usize,
    },
}

impl Message {
    /// Takes what it can use of a fragment and says how much that was.
    fn receive(&mut self, fragment: &[u8]) -> Result<usize, HelloError> {
        let mut reader = Reader::new(fragment);
        while let Some(header_byte) = self.awaits_header().then(|| reader.u8()).flatten() {
            self.receive_header_byte(header_byte)?;
        }
        let used = fragment.len() - reader.rest().len();
        let Self::InBody { missing_bytes } = self else {
            return Ok(used);
        };
        let body_bytes = reader.rest().len().min(*missing_bytes);
        *missing_bytes -= body_bytes;
        Ok(used + body_bytes)
    }

    fn receive_header_byte(&mut self, byte: u8) -> Result<(), HelloError> {
        *self = match *self {
            Self::AwaitingType if byte == CLIENT_HELLO => {
                Self::AwaitingLength { so_far: 0, length_bytes_missing: 3 }
            }
            Self::AwaitingType => return Err(HelloError::NotClientHello { handshake_type: byte }),
            Self::AwaitingLength { so_far, length_bytes_missing: 1 } => {
                Self::InBody { missing_bytes: so_far << 8 | usize::from(byte) }
            }
            Self::AwaitingLength { so_far, length_bytes_missing } => Self::AwaitingLength {
                so_far: so_far << 8 | usize::from(byte),
                length_bytes_missing: length_bytes_missing - 1,
            },
            Self::InBody { missing_bytes } => Self::InBody { missing_bytes },
        };
        Ok(())
    }

    const fn awaits_header(&self) -> bool {
        matches!(self, Self::AwaitingType | Self::AwaitingLength { .. })
    }

    const fn is_complete(&self) -> bool {
        matches!(self, Self::InBody { missing_bytes: 0 })
    }

    /// How many bytes must at least still come; before the length is known that is nothing.
    const fn missing_bytes(&self) -> usize {
        match self {
            Self::AwaitingType | Self::AwaitingLength { .. } => 0,
            Self::InBody { missing_bytes } => *missing_bytes,
        }
    }
}

/// Reads a record header as far as it has arrived, and refuses at the first byte that settles it.
///
/// ```text
///  byte  0        1       2       3            5
///       +--------+-------+-------+------------+------------------
///       | 0x16   | 0x03  | minor | length u16 | 1 to 16384 bytes
///       +--------+-------+-------+------------+------------------
///        handshake        any
/// ```
///
/// The minor version is ignored, as RFC 8446 §5.1 asks.
fn read_record_length(bytes: &[u8], first: bool) -> Result<Option<u16>, HelloError> {
    let mut header = Reader::new(bytes);
    let Some(content_type) = header.u8() else { return Ok(None) };
    if first && !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&content_type) {
        return refuse_foreign(bytes);
    }
    if !first && content_type != HANDSHAKE {
        return Err(HelloError::UnexpectedRecord { content_type, first });
    }
    let Some(major) = header.u8() else { return Ok(None) };
    if major != 3 {
        return Err(HelloError::NotTls);
    }
    if content_type != HANDSHAKE {
        return Err(HelloError::UnexpectedRecord { content_type, first });
    }
    let (Some(_minor), Some(length)) = (header.u8(), header.u16()) else { return Ok(None) };
    match length {
        0 => Err(HelloError::Malformed { what: Malformation::EmptyRecord }),
        1..=MAX_RECORD_BYTES => Ok(Some(length)),
        _ => Err(HelloError::RecordOverflow { bytes: length }),
    }
}

/// Tells a hello of SSL 2.0 from whatever else is no TLS.
///
/// ```text
///  byte  0                     2      3
///       +---------------------+------+------------------+
///       | 1, length of 15 bit | 0x01 | 03 xx  or  00 02 |
///       +---------------------+------+------------------+
/// ```
fn refuse_foreign(bytes: &[u8]) -> Result<Option<u16>, HelloError> {
    match bytes {
        [0x80..=0xff, _, CLIENT_HELLO, 3, ..] | [0x80..=0xff, _, CLIENT_HELLO, 0, 2, ..] => {
            Err(HelloError::Sslv2)
        }
        [0x80..=0xff]
        | [0x80..=0xff, _]
        | [0x80..=0xff, _, CLIENT_HELLO]
        | [0x80..=0xff, _, CLIENT_HELLO, 0] => Ok(None),
        _ => Err(HelloError::NotTls),
    }
}

/// The message of a stream whose record headers have all been checked.
fn join_fragments(stream: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(stream.len());
    let mut rest = stream;
    while let Some((header, after)) = rest.split_at_checked(RECORD_HEADER_BYTES) {
        let bytes = usize::from(record_length(header)).min(after.len());
        let (fragment, next) = after.split_at_checked(bytes).unwrap_or_default();
        message.extend_from_slice(fragment);
        rest = next;
    }
    message
}

fn record_length(header: &[u8]) -> u16 {
    header.last_chunk().map_or(0, |length| u16::from_be_bytes(*length))
}

const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE_HEADER_BYTES: usize = 4;
const MAX_RECORD_BYTES: u16 = 16_384;

// Content types (RFC 8446 §5.1, RFC 6520 §3).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const HEARTBEAT: u8 = 24;

/// The handshake type of a ClientHello (RFC 8446 §4), also the message type of an SSL 2.0 hello.
const CLIENT_HELLO: u8 = 1;

/// What rustls allows for a whole hello, so that nothing passes here that an edge would then refuse.
const DEFAULT_MAX_STREAM_BYTES: usize = 65_535;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
