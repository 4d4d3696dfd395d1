use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{ProxyHeader, TrustedSources};

/// Reads the PROXY header at the start of a connection, however it is cut, and keeps what follows it.
///
/// On a port where the protocol is on, each connection must begin with a header, and only trusted sources may connect:
/// guessing whether there is one would let anybody write it. Version 1 and 2 are both taken.
///
/// ```text
///                   receive
///  AwaitingHeader ------------> Answered(Ok(header))      what follows is the visitor's
///        |
///        +------> Answered(Err(error))                    close without a word
///          not PROXY, malformed, too long, end, deadline
/// ```
///
/// ```
/// use adit_tls_modes::{ProxyLimits, ProxyRead, ProxyReader, TrustedSources};
///
/// let trusted = TrustedSources::new(["10.0.0.0/8".parse()?]);
/// let mut reader = ProxyReader::new("10.0.0.7".parse()?, &trusted, ProxyLimits::new())?;
/// assert_eq!(reader.receive(b"PROXY TCP4 192.0.2.1 198.51."), ProxyRead::NeedMore);
/// let ProxyRead::Header(header) = reader.receive(b"100.2 51000 443\r\n\x16\x03\x01") else { panic!() };
/// assert_eq!(header.source(), Some("192.0.2.1:51000".parse()?));
/// assert_eq!(reader.into_remaining(), b"\x16\x03\x01");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProxyReader {
    limits: ProxyLimits,
    /// While no answer is known, shorter than the longest header plus what one call brought.
    received: Vec<u8>,
    phase: Phase,
}

impl ProxyReader {
    /// A reader for a connection from `source`, the address that the socket reports.
    ///
    /// # Errors
    /// [`ProxyError::UntrustedSource`]: close the connection, and read nothing.
    pub fn new(source: IpAddr, trusted: &TrustedSources, limits: ProxyLimits) -> Result<Self, ProxyError> {
        if !trusted.contains(source) {
            return Err(ProxyError::UntrustedSource);
        }
        Ok(Self { limits, received: Vec::new(), phase: Phase::AwaitingHeader })
    }

    /// Takes bytes from the connection, in order, and says what is known by now.
    pub fn receive(&mut self, bytes: &[u8]) -> ProxyRead {
        self.received.extend_from_slice(bytes);
        if matches!(self.phase, Phase::AwaitingHeader) {
            match find_header(&self.received, self.limits.max_header_bytes) {
                Ok(None) => {}
                Ok(Some((header, ends_at))) => self.phase = Phase::Read { header, ends_at },
                Err(error) => self.phase = Phase::Refused(error),
            }
        }
        self.verdict()
    }

    /// Takes the end of the connection.
    pub fn receive_end(&mut self) -> ProxyRead {
        self.give_up(ProxyError::Eof)
    }

    /// Takes the passing of the deadline: [`ProxyLimits::deadline`].
    pub fn handle_timeout(&mut self) -> ProxyRead {
        self.give_up(ProxyError::DeadlinePassed)
    }

    /// What is known by now.
    pub const fn verdict(&self) -> ProxyRead {
        match self.phase {
            Phase::AwaitingHeader => ProxyRead::NeedMore,
            Phase::Read { header, .. } => ProxyRead::Header(header),
            Phase::Refused(error) => ProxyRead::Refused(error),
        }
    }

    /// Gives up the reader for what was received behind the header: the first bytes of the visitor. Empty without a
    /// header.
    pub fn into_remaining(self) -> Vec<u8> {
        let mut received = self.received;
        match self.phase {
            Phase::Read { ends_at, .. } => received.split_off(ends_at.min(received.len())),
            Phase::AwaitingHeader | Phase::Refused(_) => Vec::new(),
        }
    }

    const fn give_up(&mut self, error: ProxyError) -> ProxyRead {
        if let Phase::AwaitingHeader = self.phase {
            self.phase = Phase::Refused(error);
        }
        self.verdict()
    }
}

/// What a [`ProxyReader`] knows by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum ProxyRead {
    /// Nothing yet.
    NeedMore,
    /// The header is complete. What follows it has not been looked at.
    Header(ProxyHeader),
    /// Close the connection.
    Refused(ProxyError),
}

/// Why a connection is closed on a port where the PROXY protocol is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The source is in none of the trusted networks. A fault of the settings, or an attempt to lie.
    #[error("the source of the connection is not trusted with the PROXY protocol")]
    UntrustedSource,
    /// The connection does not begin with a header of either version. Known with the first byte that differs.
    #[error("the connection does not start with a PROXY header")]
    NotProxy,
    /// The header contradicts itself, has a version, command or family that is unknown, or is for datagrams.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The header is, or says that it is, longer than is allowed.
    #[error("the PROXY header does not fit into {limit_bytes} bytes")]
    TooLong {
        /// The cap.
        limit_bytes: usize,
    },
    /// The connection ended first.
    #[error("the connection ended inside the PROXY header")]
    Eof,
    /// The deadline passed first.
    #[error("the PROXY header did not arrive in time")]
    DeadlinePassed,
}

/// How long and how large a header may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyLimits {
    max_header_bytes: usize,
    timeout: Duration,
}

impl ProxyLimits {
    /// The defaults: 4,096 bytes, 5 seconds.
    pub const fn new() -> Self {
        Self { max_header_bytes: 4096, timeout: Duration::from_secs(5) }
    }

    /// Sets how many bytes a header of version 2 may have, extensions included. Default 4,096. Version 1 has 107 at most.
    ///
    /// Proxies send a hundred or two, and more only if they pass on certificates.
    #[must_use]
    pub const fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.max_header_bytes = bytes;
        self
    }

    /// Sets how long the header may take, counted from the accepting of the connection. Default 5 seconds; proxies send it
    /// at once.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The moment to call [`ProxyReader::handle_timeout`], or `None` if it lies beyond what the clock can say.
    pub fn deadline(&self, accepted: Instant) -> Option<Instant> {
        accepted.checked_add(self.timeout)
    }
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
enum Phase {
    AwaitingHeader,
    Read { header: ProxyHeader, ends_at: usize },
    Refused(ProxyError),
}

/// The header at the start of `received`, and where it ends; `None` as long as it may still become one.
///
/// Where it ends is found out first, so that the bytes of the visitor behind it are never part of what is read.
fn find_header(received: &[u8], max_header_bytes: usize) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    if starts_alike(received, SIGNATURE_V2) {
        find_v2(received, max_header_bytes)
    } else if starts_alike(received, PREFIX_V1) {
        find_v1(received)
    } else {
        Err(ProxyError::NotProxy)
    }
}

fn find_v1(received: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let possible = received.get(..MAX_V1_BYTES).unwrap_or(received);
    match possible.split_inclusive(|byte| *byte == b'\n').next() {
        Some(line) if line.ends_with(b"\n") => Ok(Some((ProxyHeader::read_v1(line)?, line.len()))),
        _ if possible.len() < MAX_V1_BYTES => Ok(None),
        _ => Err(ProxyError::TooLong { limit_bytes: MAX_V1_BYTES }),
    }
}

fn find_v2(received: &[u8], limit_bytes: usize) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let Some(fixed) = received.get(..FIXED_V2_BYTES) else { return Ok(None) };
    let payload_bytes = fixed.last_chunk().map_or(0, |length| u16::from_be_bytes(*length));
    let ends_at = FIXED_V2_BYTES + usize::from(payload_bytes);
    if ends_at > limit_bytes {
        return Err(ProxyError::TooLong { limit_bytes });
    }
    match received.get(..ends_at) {
        Some(header) => Ok(Some((ProxyHeader::read_v2(header)?, ends_at))),
        None => Ok(None),
    }
}

fn starts_alike(received: &[u8], mark: &[u8]) -> bool {
    received.iter().zip(mark).all(|(received, mark)| received == mark)
}

const PREFIX_V1: &[u8] = b"PROXY ";
/// With the terminating CR LF.
const MAX_V1_BYTES: usize = 107;
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the length of the rest.
const FIXED_V2_BYTES: usize = 16;
