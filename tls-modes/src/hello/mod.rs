mod error;
#[cfg(feature = "ja4")]
mod ja4;
mod room;
mod sniffer;

use std::fmt;

pub use error::{HelloError, Malformation};
#[cfg(feature = "ja4")]
pub use ja4::{Ja4, Ja4Transport};
pub use room::{HelloRoom, RoomFull, RoomLimits, SeatId};
pub use sniffer::{Sniff, SniffLimits, Sniffer};

use crate::reader::Reader;
use crate::{ServerName, ServerNameError};

/// What a ClientHello says, as far as choosing a TLS mode needs it (RFC 8446 §4.1.2).
///
/// ```text
///  struct {                                    what is kept
///      ProtocolVersion legacy_version;         legacy_version()
///      Random random;                          -
///      opaque session_id<0..32>;               checked
///      CipherSuite cipher_suites<2..2^16-2>;   cipher_suites()
///      opaque compression<1..2^8-1>;           checked
///      Extension extensions<0..2^16-1>;        extension_types(); may be absent as a whole
///   }      0 server_name                       server_name(), has_ip_literal()
///         13 signature_algorithms              signature_algorithms()
///         16 application_layer_protocol_...    alpn()
///         42 early_data                        offers_early_data()
///         43 supported_versions                versions()
///         51 key_share                         key_shares()
///      65037 encrypted_client_hello            ech()
///      65486 encrypted_server_name (draft)     has_draft_esni()
/// ```
///
/// Other extensions are checked for their length and for standing there once, and skipped: a passthrough agent may
/// know what this crate has never heard of. GREASE (RFC 8701) needs no special care then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    legacy_version: ProtocolVersion,
    cipher_suites: Box<[u16]>,
    extension_types: Box<[u16]>,
    server_name: Option<ServerName>,
    has_ip_literal: bool,
    alpn: AlpnProtocols,
    signature_algorithms: Box<[u16]>,
    versions: Option<Box<[ProtocolVersion]>>,
    key_shares: Box<[KeyShare]>,
    ech: Option<Ech>,
    has_draft_esni: bool,
    offers_early_data: bool,
}

impl ClientHello {
    /// Reads the body of a ClientHello: what follows the 4-byte handshake header. QUIC carries that message in CRYPTO
    /// frames without records; over TCP let a [`Sniffer`] find it.
    ///
    /// # Errors
    /// [`HelloError::Malformed`] and [`HelloError::InvalidName`].
    pub fn from_body(body: &[u8]) -> Result<Self, HelloError> {
        let mut reader = Reader::new(body);
        let mut hello = Self::read_fixed_part(&mut reader)?;
        // RFC 8446 §4.1.2: a hello of older versions may end here, without any extension block.
        if !reader.is_empty() {
            hello.read_extensions(&mut reader)?;
        }
        Ok(hello)
    }

    /// The host asked for, or `None` if there was no server_name extension or only an IP address in it.
    pub fn server_name(&self) -> Option<&ServerName> {
        self.server_name.as_ref()
    }

    /// Whether the server_name extension held an IP address. It counts as if it were absent and is deliberately not
    /// kept: it must never become a place to connect to.
    pub fn has_ip_literal(&self) -> bool {
        self.has_ip_literal
    }

    /// The application protocols offered, in the client's order; empty if the extension is absent.
    pub fn alpn(&self) -> &AlpnProtocols {
        &self.alpn
    }

    /// `legacy_version` of the hello; 3.3 for every modern client.
    pub fn legacy_version(&self) -> ProtocolVersion {
        self.legacy_version
    }

    /// The versions of the supported_versions extension, in the client's order and with its GREASE; empty if absent.
    pub fn versions(&self) -> &[ProtocolVersion] {
        self.versions.as_deref().unwrap_or_default()
    }

    /// Whether the client takes `version`. Without supported_versions that is every version up to
    /// [`legacy_version`](Self::legacy_version), but not TLS 1.3 (RFC 8446 §4.2.1).
    pub fn offers(&self, version: ProtocolVersion) -> bool {
        match &self.versions {
            Some(versions) => versions.contains(&version),
            None => version <= self.legacy_version && version < ProtocolVersion::TLS13,
        }
    }

    /// The cipher suites offered, by their IANA numbers, in the client's order and with its GREASE; never empty.
    pub fn cipher_suites(&self) -> &[u16] {
        &self.cipher_suites
    }

    /// The types of all extensions, in the client's order and with its GREASE, each once.
    pub fn extension_types(&self) -> &[u16] {
        &self.extension_types
    }

    /// The SignatureSchemes of the signature_algorithms extension, in the client's order; empty if it is absent.
    ///
    /// Empty also if the extension is malformed: what is only told of is no reason to refuse a hello that the agent
    /// might serve.
    pub fn signature_algorithms(&self) -> &[u16] {
        &self.signature_algorithms
    }

    /// The key shares offered, in the client's order and with its GREASE.
    pub fn key_shares(&self) -> &[KeyShare] {
        &self.key_shares
    }

    /// The encrypted_client_hello extension, if there is one.
    pub fn ech(&self) -> Option<Ech> {
        self.ech
    }

    /// Whether the client speaks the draft that came before ECH: it then usually sends no server name.
    pub fn has_draft_esni(&self) -> bool {
        self.has_draft_esni
    }

    /// Whether some cipher suite, extension, version or key share is GREASE (RFC 8701), as current browsers send it.
    pub fn sends_grease(&self) -> bool {
        let versions = self.versions().iter().map(|version| version.code());
        let groups = self.key_shares().iter().map(|share| share.group());
        let offered = self.cipher_suites().iter().chain(self.extension_types()).copied();
        offered.chain(versions).chain(groups).any(is_grease)
    }

    /// Whether early data follows. Passthrough forwards it; an edge must not take it, since it can be replayed.
    pub fn offers_early_data(&self) -> bool {
        self.offers_early_data
    }

    fn read_fixed_part(reader: &mut Reader<'_>) -> Result<Self, HelloError> {
        let version = expect(reader.u16(), Malformation::VersionOrRandom)?;
        let _random: [u8; 32] = expect(reader.array(), Malformation::VersionOrRandom)?;
        let session_id =
            reader.vector8().filter(|session_id| session_id.rest().len() <= MAX_SESSION_ID_BYTES);
        expect(session_id, Malformation::SessionId)?;
        let suites = reader.vector16().filter(|suites| !suites.is_empty());
        let cipher_suites = expect(suites.and_then(read_codes), Malformation::CipherSuites)?;
        let compression = reader.vector8().filter(|methods| !methods.is_empty());
        expect(compression, Malformation::CompressionMethods)?;
        Ok(Self {
            legacy_version: ProtocolVersion(version),
            cipher_suites,
            extension_types: Box::default(),
            server_name: None,
            has_ip_literal: false,
            alpn: AlpnProtocols::default(),
            signature_algorithms: Box::default(),
            versions: None,
            key_shares: Box::default(),
            ech: None,
            has_draft_esni: false,
            offers_early_data: false,
        })
    }

    fn read_extensions(&mut self, reader: &mut Reader<'_>) -> Result<(), HelloError> {
        let malformed = HelloError::Malformed { what: Malformation::Extensions };
        let mut block = reader.vector16().ok_or(malformed)?;
        if !reader.is_empty() {
            return Err(malformed);
        }
        let mut types = Vec::with_capacity(TYPICAL_EXTENSIONS);
        while !block.is_empty() {
            let extension = block.u16().ok_or(malformed)?;
            let content = block.vector16().ok_or(malformed)?;
            types.push(extension);
            self.read_extension(extension, content)?;
        }
        self.extension_types = types.as_slice().into();
        check_no_duplicates(types)
    }

    fn read_extension(&mut self, extension: u16, content: Reader<'_>) -> Result<(), HelloError> {
        match extension {
            SERVER_NAME => self.read_server_name(content)?,
            SIGNATURE_ALGORITHMS => {
                self.signature_algorithms = read_signature_algorithms(content).unwrap_or_default();
            }
            ALPN => self.alpn = expect(AlpnProtocols::read(content), Malformation::Alpn)?,
            EARLY_DATA => self.offers_early_data = true,
            SUPPORTED_VERSIONS => {
                self.versions = Some(expect(read_versions(content), Malformation::SupportedVersions)?);
            }
            KEY_SHARE => self.key_shares = expect(read_key_shares(content), Malformation::KeyShare)?,
            ENCRYPTED_CLIENT_HELLO => {
                self.ech = Some(expect(Ech::read(content), Malformation::EncryptedClientHello)?);
            }
            DRAFT_ESNI => self.has_draft_esni = true,
            _ => {}
        }
        Ok(())
    }

    fn read_server_name(&mut self, content: Reader<'_>) -> Result<(), HelloError> {
        let host_name = expect(read_host_name(content), Malformation::ServerName)?;
        match ServerName::from_wire(host_name) {
            Ok(name) => self.server_name = Some(name),
            Err(ServerNameError::IpLiteral) => self.has_ip_literal = true,
            Err(source) => return Err(HelloError::InvalidName { source }),
        }
        Ok(())
    }
}

/// A protocol version as it stands on the wire (RFC 8446 §4.1.2), open: clients offer drafts and GREASE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolVersion(u16);

impl ProtocolVersion {
    /// TLS 1.2, the oldest version that an edge serves.
    pub const TLS12: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS13: Self = Self(0x0304);

    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self.0
    }
}

impl From<u16> for ProtocolVersion {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl fmt::Debug for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// One key share of a hello: which group, and how many bytes of key (RFC 8446 §4.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyShare {
    group: u16,
    bytes: u16,
}

impl KeyShare {
    /// X25519MLKEM768, the post-quantum hybrid that browsers send.
    pub const X25519MLKEM768: u16 = 0x11ec;

    /// The NamedGroup, from the IANA registry of supported groups.
    pub const fn group(self) -> u16 {
        self.group
    }

    /// The length of the key exchange value in bytes, at least 1.
    pub const fn bytes(self) -> u16 {
        self.bytes
    }
}

/// The form of an encrypted_client_hello extension (RFC 9849 §5).
///
/// Routing always goes by the outer name. A client that knows no key for the server sends random bytes in the outer
/// form (GREASE ECH, RFC 9849 §6.2), made so that nobody without the key can tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ech {
    /// The outer hello, or GREASE that looks like one.
    #[non_exhaustive]
    Outer {
        /// Which of the server's keys the client claims to use.
        config_id: u8,
    },
    /// The mark of an inner hello, which should never be seen outside an encryption.
    Inner,
}

impl Ech {
    fn read(mut content: Reader<'_>) -> Option<Self> {
        let ech = match content.u8()? {
            0 => Self::read_outer(&mut content)?,
            1 => Self::Inner,
            _ => return None,
        };
        content.is_empty().then_some(ech)
    }

    fn read_outer(content: &mut Reader<'_>) -> Option<Self> {
        let _kdf_and_aead: [u8; 4] = content.array()?;
        let config_id = content.u8()?;
        let _enc = content.vector16()?;
        let payload = content.vector16()?;
        (!payload.is_empty()).then_some(Self::Outer { config_id })
    }
}

/// The application protocols of a hello, as bytes: nothing says that they are text (RFC 7301 §3.1).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AlpnProtocols {
    /// Invariant: a sequence of entries, each a length byte of at least 1 and as many bytes.
    entries: Box<[u8]>,
}

impl AlpnProtocols {
    /// The protocols in the client's order, each 1 to 255 bytes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(&self.entries);
        std::iter::from_fn(move || Some(reader.vector8()?.rest()))
    }

    /// Whether `protocol` is offered, compared byte for byte.
    pub fn contains(&self, protocol: &[u8]) -> bool {
        self.iter().any(|offered| offered == protocol)
    }

    /// Whether the client offered none, that is, sent no such extension.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn read(mut content: Reader<'_>) -> Option<Self> {
        let list = content.vector16()?;
        if list.is_empty() || !content.is_empty() {
            return None;
        }
        let mut entries = list;
        while !entries.is_empty() {
            entries.vector8().filter(|name| !name.is_empty())?;
        }
        Some(Self { entries: list.rest().into() })
    }
}

impl fmt::Debug for AlpnProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|name| name.escape_ascii().to_string())).finish()
    }
}

/// The one host name of a server_name extension. Every other shape is refused: parsers that take the first of two
/// names, or the last, or skip unknown types, disagree about who was asked for.
///
/// ```text
///  +------------+------+------------+-----------------+
///  | list u16   | 0x00 | name u16   | host name, >= 1 |
///  +------------+------+------------+-----------------+
/// ```
fn read_host_name<'a>(mut content: Reader<'a>) -> Option<&'a [u8]> {
    let mut list = content.vector16()?;
    let HOST_NAME = list.u8()? else { return None };
    let host_name = list.vector16()?;
    (!host_name.is_empty() && list.is_empty() && content.is_empty()).then_some(host_name.rest())
}

/// Numbers of two bytes each, to the end.
fn read_codes(list: Reader<'_>) -> Option<Box<[u16]>> {
    let (codes, odd) = list.rest().as_chunks();
    odd.is_empty().then(|| codes.iter().map(|code| u16::from_be_bytes(*code)).collect())
}

fn read_signature_algorithms(mut content: Reader<'_>) -> Option<Box<[u16]>> {
    let list = content.vector16()?;
    if content.is_empty() { read_codes(list) } else { None }
}

fn read_versions(mut content: Reader<'_>) -> Option<Box<[ProtocolVersion]>> {
    let list = content.vector8()?.rest();
    let (versions, odd) = list.as_chunks();
    let is_well_formed = content.is_empty() && !versions.is_empty() && odd.is_empty();
    is_well_formed.then(|| versions.iter().map(|code| ProtocolVersion(u16::from_be_bytes(*code))).collect())
}

/// An empty list is well formed: it asks for a HelloRetryRequest (RFC 8446 §4.2.8).
fn read_key_shares(mut content: Reader<'_>) -> Option<Box<[KeyShare]>> {
    let mut list = content.vector16()?;
    if !content.is_empty() {
        return None;
    }
    let mut key_shares = Vec::with_capacity(TYPICAL_KEY_SHARES);
    while !list.is_empty() {
        let group = list.u16()?;
        let bytes = list.u16()?;
        list.take(bytes.into()).filter(|key| !key.is_empty())?;
        key_shares.push(KeyShare { group, bytes });
    }
    Some(key_shares.into())
}

/// 0x0a0a, 0x1a1a … 0xfafa (RFC 8701 §2).
const fn is_grease(code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// Sorting keeps this within n log n of what was received, however many extensions there are.
fn check_no_duplicates(mut extensions: Vec<u16>) -> Result<(), HelloError> {
    extensions.sort_unstable();
    let duplicate = extensions.array_windows().find(|[left, right]| left == right);
    match duplicate {
        Some(&[extension, _]) => {
            Err(HelloError::Malformed { what: Malformation::DuplicateExtension { extension } })
        }
        None => Ok(()),
    }
}

fn expect<T>(part: Option<T>, what: Malformation) -> Result<T, HelloError> {
    part.ok_or(HelloError::Malformed { what })
}

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// draft-ietf-tls-esni-01 to -06, before the inner hello replaced the inner name.
const DRAFT_ESNI: u16 = 0xffce;

/// The only NameType of RFC 6066 §3.
const HOST_NAME: u8 = 0;
const MAX_SESSION_ID_BYTES: usize = 32;
const TYPICAL_EXTENSIONS: usize = 24;
const TYPICAL_KEY_SHARES: usize = 4;
