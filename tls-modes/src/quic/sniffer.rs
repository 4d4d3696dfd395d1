use std::fmt;
use std::time::{Duration, Instant};

use super::crypto::InitialKeys;
use super::frame::read_frames;
use super::packet::{LongHeader, Packet, PacketKind};
use super::reassembly::CryptoStream;
use super::version::version_negotiation;
use super::{ConnectionId, DatagramError, InitialRefusal, QuicCrypto, QuicVersion};
use crate::{AlertDescription, ClientHello, HelloError};

/// Finds the ClientHello in the first datagrams of one QUIC connection, in whatever order they come.
///
/// Datagrams go in through [`receive`](Self::receive), which leaves them as they are: keep them, and forward them once
/// the hello says where to. The first one with an Initial that opens decides about version and keys; from then on all
/// that matters is what opens with the same keys.
///
/// ```text
///                     opens                      complete
///  AwaitingInitial ----------> AwaitingHello ----------------> Hello
///     |       ^                  |   ^   |
///     +-------+                  +---+   +----------------> Refused
///      dropped, version          dropped     broken rule in an authentic packet,
///      negotiated                            refused hello, 5 seconds over
/// ```
///
/// Costs: the keys once, then each byte is decrypted once and copied twice. Memory is at most what was received,
/// rounded up to pages of 256 bytes for each of at most 64 pieces, and never more than 64 KiB.
pub struct InitialSniffer {
    crypto: QuicCrypto,
    limits: InitialLimits,
    phase: Phase,
}

impl InitialSniffer {
    /// A sniffer that has received nothing.
    pub const fn new(crypto: QuicCrypto, limits: InitialLimits) -> Self {
        Self { crypto, limits, phase: Phase::AwaitingInitial }
    }

    /// Takes a datagram of the client and says what is known by now.
    ///
    /// After [`InitialSniff::Hello`] and [`InitialSniff::Refused`] datagrams are not looked at any more.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> InitialSniff<'_> {
        self.handle_timeout(now);
        let step = match &mut self.phase {
            Phase::AwaitingInitial => self.begin(now, datagram),
            Phase::Begun(connection) => connection.receive(datagram).map_err(Step::Drop),
        };
        match step {
            Ok(()) => self.verdict(),
            Err(Step::Drop(error)) => InitialSniff::Dropped(error),
            Err(Step::Negotiate(packet)) => InitialSniff::VersionNegotiation(packet),
        }
    }

    /// Takes the passing of time: from [`poll_timeout`](Self::poll_timeout) on, an unfinished hello is refused.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Begun(connection) = &mut self.phase {
            connection.handle_timeout(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if a hello is awaited.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::AwaitingInitial => None,
            Phase::Begun(connection) => connection.poll_timeout(),
        }
    }

    /// What is known by now.
    pub fn verdict(&self) -> InitialSniff<'_> {
        match &self.phase {
            Phase::AwaitingInitial => InitialSniff::NeedMore,
            Phase::Begun(connection) => connection.verdict(),
        }
    }

    /// A datagram that tells the client why it is not served, or `None` while no client is known.
    ///
    /// Less than 100 bytes: a client's first datagram, which has 1,200, pays for a dozen of them (RFC 9000 §8.1). Send
    /// at most one for each datagram received.
    pub fn close(&self, alert: AlertDescription) -> Option<Vec<u8>> {
        match &self.phase {
            Phase::AwaitingInitial => None,
            Phase::Begun(connection) => connection.close(alert),
        }
    }

    /// Memory held for the unfinished hello, in bytes.
    pub fn memory_bytes(&self) -> usize {
        match &self.phase {
            Phase::AwaitingInitial => 0,
            Phase::Begun(connection) => connection.memory_bytes(),
        }
    }

    fn begin(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Step> {
        check_first_flight(datagram)?;
        let packet = initials(datagram).next().ok_or(DatagramError::NoInitial)??;
        if packet.destination.len() < MIN_FIRST_ID_BYTES {
            return Err(DatagramError::ConnectionIdTooShort { bytes: packet.destination.len() }.into());
        }
        let version = packet.version;
        let keys =
            self.crypto.keys(version, &packet.destination).ok_or(DatagramError::OtherVersion { version })?;
        let mut connection = Box::new(Connection {
            keys,
            version,
            destination: packet.destination,
            source: packet.source,
            has_token: packet.has_token,
            progress: Progress::AwaitingHello {
                stream: CryptoStream::new(self.limits.max_hello_bytes),
                deadline: now.checked_add(self.limits.timeout),
            },
        });
        connection.receive(datagram)?;
        self.phase = Phase::Begun(connection);
        Ok(())
    }
}

impl fmt::Debug for InitialSniffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitialSniffer").field("verdict", &self.verdict()).finish_non_exhaustive()
    }
}

/// What an [`InitialSniffer`] knows by now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum InitialSniff<'a> {
    /// Nothing yet: keep the datagram and wait for more, until the deadline.
    NeedMore,
    /// The hello is complete.
    Hello(&'a InitialHello),
    /// The datagram means nothing here: forget it, send nothing. The sniffer is as it was.
    Dropped(DatagramError),
    /// The client speaks another version: send this datagram back and forget the client's. The sniffer is as it was.
    ///
    /// It is never more than half as long as the client's datagram, which had at least 1,200 bytes.
    VersionNegotiation(Vec<u8>),
    /// No further datagram could lead to a hello: forget the connection, after [`InitialSniffer::close`] with
    /// [`InitialRefusal::alert`] if there is one.
    Refused(InitialRefusal),
}

/// The ClientHello of a QUIC connection and what stood around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialHello {
    client_hello: ClientHello,
    version: QuicVersion,
    destination: ConnectionId,
    source: ConnectionId,
    has_token: bool,
}

impl InitialHello {
    /// The hello itself: names, application protocols and versions of TLS.
    pub const fn client_hello(&self) -> &ClientHello {
        &self.client_hello
    }

    /// The version of QUIC that the client begins with.
    pub const fn version(&self) -> QuicVersion {
        self.version
    }

    /// The destination connection id of the first Initial: 8 to 20 bytes that the client chose at random, or that a
    /// server chose in a Retry.
    pub const fn destination(&self) -> &ConnectionId {
        &self.destination
    }

    /// The source connection id, by which the client wants to be addressed.
    pub const fn source(&self) -> &ConnectionId {
        &self.source
    }

    /// Whether the first Initial carried a token, of a Retry or of an earlier connection (RFC 9000 §8.1). Only the
    /// server that made it can say if it is genuine.
    pub const fn has_token(&self) -> bool {
        self.has_token
    }
}

/// How long and how large a first flight may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialLimits {
    max_hello_bytes: usize,
    pub(super) timeout: Duration,
}

impl InitialLimits {
    /// The defaults: 65,535 bytes of hello, 5 seconds.
    pub const fn new() -> Self {
        Self { max_hello_bytes: MAX_HELLO_BYTES, timeout: Duration::from_secs(5) }
    }

    /// Sets how many bytes of CRYPTO data the hello may have, its 4-byte header included.
    ///
    /// Default 65,535, which is also the most. Browsers need 2,500. Below 50 no hello fits, and all are refused.
    #[must_use]
    pub const fn max_hello_bytes(mut self, bytes: usize) -> Self {
        self.max_hello_bytes = if bytes < MAX_HELLO_BYTES { bytes } else { MAX_HELLO_BYTES };
        self
    }

    /// Sets how long the hello may take, counted from the first Initial that opened. Default 5 seconds: a client repeats
    /// what was lost within one or two (RFC 9002 §6.2). The time is not renewed by what arrives.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for InitialLimits {
    fn default() -> Self {
        Self::new()
    }
}

enum Phase {
    AwaitingInitial,
    Begun(Box<Connection>),
}

struct Connection {
    keys: InitialKeys,
    version: QuicVersion,
    destination: ConnectionId,
    source: ConnectionId,
    has_token: bool,
    progress: Progress,
}

enum Progress {
    AwaitingHello {
        stream: CryptoStream,
        /// `None` if it lies beyond what the clock can say.
        deadline: Option<Instant>,
    },
    Hello(InitialHello),
    Refused(InitialRefusal),
}

impl Connection {
    fn receive(&mut self, datagram: &[u8]) -> Result<(), DatagramError> {
        let Progress::AwaitingHello { stream, .. } = &mut self.progress else { return Ok(()) };
        check_first_flight_size(datagram)?;
        match receive_initials(&self.keys, self.version, stream, datagram)? {
            Ok(None) => {}
            Ok(Some(client_hello)) => {
                self.progress = Progress::Hello(InitialHello {
                    client_hello,
                    version: self.version,
                    destination: self.destination,
                    source: self.source,
                    has_token: self.has_token,
                });
            }
            Err(refusal) => self.progress = Progress::Refused(refusal),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.progress = Progress::Refused(InitialRefusal::DeadlinePassed);
        }
    }

    const fn poll_timeout(&self) -> Option<Instant> {
        match &self.progress {
            Progress::AwaitingHello { deadline, .. } => *deadline,
            Progress::Hello(_) | Progress::Refused(_) => None,
        }
    }

    const fn verdict(&self) -> InitialSniff<'_> {
        match &self.progress {
            Progress::AwaitingHello { .. } => InitialSniff::NeedMore,
            Progress::Hello(hello) => InitialSniff::Hello(hello),
            Progress::Refused(refusal) => InitialSniff::Refused(*refusal),
        }
    }

    /// The server's source id must be of its own choosing, and this is one that the client will take for such: the
    /// client has never used it for itself.
    fn close(&self, alert: AlertDescription) -> Option<Vec<u8>> {
        self.keys.close(&self.source, &self.destination, alert)
    }

    fn memory_bytes(&self) -> usize {
        match &self.progress {
            Progress::AwaitingHello { stream, .. } => stream.memory_bytes(),
            Progress::Hello(_) | Progress::Refused(_) => 0,
        }
    }
}

/// Why nothing has changed.
enum Step {
    Drop(DatagramError),
    Negotiate(Vec<u8>),
}

impl From<DatagramError> for Step {
    fn from(error: DatagramError) -> Self {
        Self::Drop(error)
    }
}

/// What can be said without keys, in an order in which other versions come before the rules of the known ones: what RFC
/// 8999 does not say of all versions must not be asked of them.
fn check_first_flight(datagram: &[u8]) -> Result<(), Step> {
    let header = LongHeader::read(datagram)?;
    if header.version == QuicVersion::NEGOTIATION {
        return Err(DatagramError::VersionNegotiation.into());
    }
    check_first_flight_size(datagram)?;
    if header.version.is_supported() {
        return Ok(());
    }
    let version = header.version;
    let packet = version_negotiation(header.source, header.destination);
    Err(packet.map_or(Step::Drop(DatagramError::OtherVersion { version }), Step::Negotiate))
}

/// RFC 9000 §14.1: a server must discard an Initial in a smaller datagram, so that an answer cannot be larger by much.
fn check_first_flight_size(datagram: &[u8]) -> Result<(), DatagramError> {
    let bytes = datagram.len();
    if bytes < MIN_FIRST_FLIGHT_BYTES { Err(DatagramError::TooSmall { bytes }) } else { Ok(()) }
}

/// Reads every Initial of a datagram and looks whether the hello is complete.
///
/// The outer error drops the datagram, the inner one refuses the connection. A packet that does not open is discarded
/// alone (RFC 9001 §5.5), unless there is none that does.
fn receive_initials(
    keys: &InitialKeys,
    version: QuicVersion,
    stream: &mut CryptoStream,
    datagram: &[u8],
) -> Result<Result<Option<ClientHello>, InitialRefusal>, DatagramError> {
    let mut scratch = Vec::with_capacity(datagram.len());
    let mut outcome = Err(DatagramError::NoInitial);
    for packet in initials(datagram) {
        let opened = packet.and_then(|packet| {
            check_version(&packet, version)?;
            keys.open(&packet, &mut scratch)
        });
        match opened {
            Ok(payload) => {
                let read = payload
                    .and_then(|payload| read_frames(payload, |offset, data| stream.insert(offset, data)));
                if let Err(refusal) = read {
                    return Ok(Err(refusal));
                }
                outcome = Ok(());
            }
            Err(error) => outcome = outcome.map_err(|_| error),
        }
    }
    outcome.map(|()| read_hello(stream))
}

fn check_version(packet: &Packet<'_>, version: QuicVersion) -> Result<(), DatagramError> {
    if packet.version == version {
        Ok(())
    } else {
        Err(DatagramError::OtherVersion { version: packet.version })
    }
}

/// The Initials of a datagram, without those that are for another connection than its first packet (RFC 9000 §12.2).
/// What follows a broken header, and everything after, is out of reach.
fn initials(datagram: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, DatagramError>> {
    let mut rest = datagram;
    let mut destination = None;
    let packets = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Packet::split(rest) {
            Ok((packet, after)) => {
                rest = after;
                Some(if packet.has_fixed_bit() { Ok(packet) } else { Err(DatagramError::FixedBitZero) })
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    });
    packets.filter(move |packet| match packet {
        Ok(packet) => {
            let is_ours = *destination.get_or_insert(packet.destination) == packet.destination;
            is_ours && packet.kind == PacketKind::Initial
        }
        // Padding behind the last packet is none of a datagram's faults; whatever its first byte is decides this.
        Err(_) => destination.is_none(),
    })
}

/// Looks at the handshake message at the start of the stream (RFC 8446 §4), as soon as its header is there.
///
/// ```text
///  byte  0      1..4      4
///       +------+---------+--------------
///       | 0x01 | length  | ClientHello
///       +------+---------+--------------
/// ```
fn read_hello(stream: &CryptoStream) -> Result<Option<ClientHello>, InitialRefusal> {
    let arrived = stream.contiguous_bytes();
    let header = stream.read(0..arrived.min(HANDSHAKE_HEADER_BYTES));
    let [handshake_type, length @ ..] = header.as_slice() else { return Ok(None) };
    if *handshake_type != CLIENT_HELLO {
        let handshake_type = *handshake_type;
        return Err(InitialRefusal::Hello(HelloError::NotClientHello { handshake_type }));
    }
    let &[high, middle, low] = length else { return Ok(None) };
    let body_bytes = usize::from(u16::from_be_bytes([middle, low])) | (usize::from(high) << 16);
    let end = HANDSHAKE_HEADER_BYTES + body_bytes;
    let limit_bytes = stream.limit_bytes();
    if end > limit_bytes {
        return Err(InitialRefusal::Hello(HelloError::TooLarge { limit_bytes }));
    }
    if end > arrived {
        return Ok(None);
    }
    let body = stream.read(HANDSHAKE_HEADER_BYTES..end);
    ClientHello::from_body(&body).map(Some).map_err(InitialRefusal::Hello)
}

/// RFC 9000 §14.1.
pub(super) const MIN_FIRST_FLIGHT_BYTES: usize = 1200;
/// RFC 9000 §7.2.
pub(super) const MIN_FIRST_ID_BYTES: usize = 8;
/// As over TCP; what rustls allows for a whole hello.
const MAX_HELLO_BYTES: usize = 65_535;
const HANDSHAKE_HEADER_BYTES: usize = 4;
/// The handshake type of a ClientHello (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
