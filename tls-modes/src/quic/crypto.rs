use std::fmt;

use rustls::crypto::CryptoProvider;
use rustls::quic::{DirectionalKeys, Keys, Suite};
use rustls::{CipherSuite, Side};

use super::packet::Packet;
use super::{ConnectionId, DatagramError, InitialRefusal, QuicVersion};
use crate::AlertDescription;

/// What opens Initial packets: AES-128-GCM, AES header protection and HKDF with SHA-256 (RFC 9001 §5.2) of a crypto
/// provider that the caller chose. Nothing is read from, or put into, a global default.
///
/// Copying is free.
#[derive(Clone, Copy)]
pub struct QuicCrypto {
    suite: Suite,
}

impl QuicCrypto {
    /// Takes what is needed out of `provider`.
    ///
    /// ```
    /// use adit_tls_modes::QuicCrypto;
    ///
    /// let provider = rustls::crypto::ring::default_provider();
    /// assert!(QuicCrypto::new(&provider).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`NoQuicSuite`] if the provider lacks `TLS13_AES_128_GCM_SHA256`, or has it without support for QUIC.
    pub fn new(provider: &CryptoProvider) -> Result<Self, NoQuicSuite> {
        let suites = provider.cipher_suites.iter();
        suites
            .filter(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256)
            .find_map(|suite| suite.tls13()?.quic_suite())
            .map(|suite| Self { suite })
            .ok_or(NoQuicSuite)
    }

    /// The keys of both sides, which the client's first destination connection id gives to anybody (RFC 9001 §5.2),
    /// or `None` if the version is not supported.
    pub(super) fn keys(self, version: QuicVersion, destination: &ConnectionId) -> Option<InitialKeys> {
        let protection = version.protection()?;
        let keys = self.suite.keys(destination.as_bytes(), Side::Server, protection);
        Some(InitialKeys { keys, version })
    }
}

impl fmt::Debug for QuicCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicCrypto").finish_non_exhaustive()
    }
}

/// The crypto provider cannot open QUIC Initials: choose one that has `TLS13_AES_128_GCM_SHA256` with QUIC, as those of
/// rustls do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto provider has no TLS13_AES_128_GCM_SHA256 for QUIC")]
#[non_exhaustive]
pub struct NoQuicSuite;

/// The Initial keys of one connection, seen from the server's side.
pub(super) struct InitialKeys {
    keys: Keys,
    version: QuicVersion,
}

impl InitialKeys {
    /// Decrypts a packet into `scratch` and returns its payload; the packet itself stays as it is, to be forwarded.
    ///
    /// ```text
    ///               number_at        + 4                 + 20
    ///  +-----------+---------------+-------------------+---------------------------+
    ///  | header    | number, 1..=4 |   sample, 16      |  payload ... and tag, 16  |
    ///  +-----------+---------------+-------------------+---------------------------+
    ///              where the number ends early, the payload begins early
    /// ```
    ///
    /// The outer error drops the packet, the inner one refuses the connection (RFC 9000 §17.2 on reserved bits: they are
    /// judged only when the packet is known to be authentic).
    pub(super) fn open<'a>(
        &self,
        packet: &Packet<'_>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Result<&'a [u8], InitialRefusal>, DatagramError> {
        scratch.clear();
        scratch.extend_from_slice(packet.bytes);
        let number_bytes = unprotect_header(&self.keys.remote, scratch, packet.number_at)?;
        let (header, payload) =
            scratch.split_at_mut_checked(packet.number_at + number_bytes).ok_or(DatagramError::Truncated)?;
        let number = read_number(header, number_bytes);
        let payload = self
            .keys
            .remote
            .packet
            .decrypt_in_place(number, header, payload)
            .map_err(|_| DatagramError::NotAuthentic)?;
        let reserved = header.first().is_some_and(|first| first & RESERVED_BITS != 0);
        Ok(if reserved { Err(InitialRefusal::ReservedBits) } else { Ok(payload) })
    }

    /// A server's Initial packet that closes the connection with a TLS alert (RFC 9001 §4.8), in a datagram of its own.
    ///
    /// ```text
    ///  CONNECTION_CLOSE   0x1c | 0x4100 + alert (varint) | frame type 0x06 | no reason
    /// ```
    ///
    /// It asks for no acknowledgement, so it needs no padding (RFC 9000 §14.1), and stays below 100 bytes.
    pub(super) fn close(
        &self,
        client_source: &ConnectionId,
        server_source: &ConnectionId,
        alert: AlertDescription,
    ) -> Option<Vec<u8>> {
        let mut payload = vec![CONNECTION_CLOSE, VARINT_OF_TWO | CRYPTO_ERROR, alert.code(), CRYPTO_FRAME, 0];
        let mut packet = self.header(client_source, server_source, payload.len() + TAG_BYTES)?;
        let number_at = packet.len() - 1;
        let tag = self.keys.local.packet.encrypt_in_place(0, &packet, &mut payload).ok()?;
        packet.extend(payload);
        packet.extend(tag.as_ref());
        let (head, sample) = packet.split_at_mut_checked(number_at + MAX_NUMBER_BYTES)?;
        let (start, number) = head.split_at_mut_checked(number_at)?;
        let sample = sample.get(..SAMPLE_BYTES)?;
        self.keys.local.header.encrypt_in_place(sample, start.first_mut()?, number).ok()?;
        Some(packet)
    }

    /// A header with a packet number of one byte, zero, and no token.
    fn header(
        &self,
        destination: &ConnectionId,
        source: &ConnectionId,
        payload_bytes: usize,
    ) -> Option<Vec<u8>> {
        let mut header = vec![if self.version == QuicVersion::V2 { INITIAL_V2 } else { INITIAL_V1 }];
        header.extend(self.version.code().to_be_bytes());
        for id in [destination, source] {
            header.push(u8::try_from(id.len()).ok()?);
            header.extend(id.as_bytes());
        }
        let no_token = 0;
        let length = u8::try_from(payload_bytes + 1).ok().filter(|length| *length < VARINT_OF_TWO)?;
        let number = 0;
        header.extend([no_token, length, number]);
        Some(header)
    }
}

/// Takes off the header protection (RFC 9001 §5.4) and returns the length of the packet number.
fn unprotect_header(
    keys: &DirectionalKeys,
    packet: &mut [u8],
    number_at: usize,
) -> Result<usize, DatagramError> {
    let (head, sampled) =
        packet.split_at_mut_checked(number_at + MAX_NUMBER_BYTES).ok_or(DatagramError::Truncated)?;
    let sample = sampled.get(..SAMPLE_BYTES).ok_or(DatagramError::Truncated)?;
    let (start, number) = head.split_at_mut_checked(number_at).ok_or(DatagramError::Truncated)?;
    let first = start.first_mut().ok_or(DatagramError::Truncated)?;
    keys.header.decrypt_in_place(sample, first, number).map_err(|_| DatagramError::NotAuthentic)?;
    Ok(usize::from(*first & NUMBER_LENGTH_BITS) + 1)
}

/// The packet number as it stands there.
///
/// A client that waits for its first answer has had nothing acknowledged, so it must write numbers in a length from which
/// they can be told without knowing any other (RFC 9000 §17.1). Not guessing from earlier packets (§A.3) makes the
/// result the same in whatever order they come.
fn read_number(header: &[u8], number_bytes: usize) -> u64 {
    let start = header.len().saturating_sub(number_bytes);
    let number = header.get(start..).unwrap_or_default();
    number.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

const SAMPLE_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const MAX_NUMBER_BYTES: usize = 4;

// First byte of a long header (RFC 9000 §17.2).
const NUMBER_LENGTH_BITS: u8 = 0x03;
const RESERVED_BITS: u8 = 0x0c;
const INITIAL_V1: u8 = 0xc0;
const INITIAL_V2: u8 = 0xd0;

const CONNECTION_CLOSE: u8 = 0x1c;
const CRYPTO_FRAME: u8 = 0x06;
/// 0x0100 and the alert are a CRYPTO_ERROR (RFC 9000 §20.1).
const CRYPTO_ERROR: u8 = 0x01;
/// The mark of a two-byte varint, also the first number that needs one.
const VARINT_OF_TWO: u8 = 0x40;
