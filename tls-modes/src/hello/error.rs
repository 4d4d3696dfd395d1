use crate::{AlertDescription, ServerNameError};

/// Why a first flight is refused. Whatever was received stays untouched and can be had back, so that a port that
/// also speaks another protocol may go on with it after [`NotTls`](Self::NotTls).
///
/// The answer depends on the bytes alone, never on how they were cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The bytes are no TLS record. Known by byte 5; no reply is due.
    #[error("the connection does not start with a TLS record")]
    NotTls,
    /// A hello in the form of SSL 2.0 (RFC 6176 forbids it). Known by byte 5; no reply is due.
    #[error("the connection starts with an SSL 2.0 hello")]
    Sslv2,
    /// A record that is no handshake record, first or between two parts of the hello.
    #[error("a record of type {content_type} stands where the ClientHello should")]
    UnexpectedRecord {
        /// The content type of the record (RFC 8446 §5.1).
        content_type: u8,
        /// Whether it is the very first one; then no reply is due.
        first: bool,
    },
    /// A record claims more than 2^14 bytes (RFC 8446 §5.1).
    #[error("a record of {bytes} bytes is longer than 16384")]
    RecordOverflow {
        /// The length the record claims.
        bytes: u16,
    },
    /// The hello cannot end within the cap on the stream.
    #[error("the ClientHello does not fit into {limit_bytes} bytes of stream")]
    TooLarge {
        /// The cap that was set.
        limit_bytes: usize,
    },
    /// The first handshake message is another one.
    #[error("the first handshake message has type {handshake_type}, not 1")]
    NotClientHello {
        /// The type of the message (RFC 8446 §4).
        handshake_type: u8,
    },
    /// The hello breaks the grammar of RFC 8446 §4.1.2, or of an extension that is looked into.
    #[error("the ClientHello is malformed: {what}")]
    Malformed {
        /// Which part of it.
        what: Malformation,
    },
    /// The name asked for is no host name.
    #[error("the server name is invalid: {source}")]
    InvalidName {
        /// The rule it breaks.
        source: ServerNameError,
    },
    /// The stream ended first.
    #[error("the stream ended after {received_bytes} bytes, inside the ClientHello")]
    Eof {
        /// Bytes received until then.
        received_bytes: usize,
    },
    /// The deadline passed first.
    #[error("the ClientHello did not arrive in time")]
    DeadlinePassed,
    /// Too many connections were saying hello, and this one had taken longest. No fault need be its own.
    #[error("the ClientHello gave way to those of newer connections")]
    GaveWay,
}

impl HelloError {
    /// The alert to send before closing, or `None` where none is due: what does not speak TLS gets no TLS answer.
    pub const fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::NotTls | Self::Sslv2 | Self::Eof { .. } | Self::DeadlinePassed | Self::GaveWay => None,
            Self::UnexpectedRecord { first: true, .. } => None,
            Self::UnexpectedRecord { first: false, .. } | Self::NotClientHello { .. } => {
                Some(AlertDescription::UNEXPECTED_MESSAGE)
            }
            Self::RecordOverflow { .. } => Some(AlertDescription::RECORD_OVERFLOW),
            Self::TooLarge { .. } => Some(AlertDescription::DECODE_ERROR),
            Self::Malformed { what } => Some(what.alert()),
            Self::InvalidName { .. } => Some(AlertDescription::UNRECOGNIZED_NAME),
        }
    }

    /// A name for counters and logs, stable across versions.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Sslv2 => "sslv2",
            Self::UnexpectedRecord { .. } => "unexpected_record",
            Self::RecordOverflow { .. } => "record_overflow",
            Self::TooLarge { .. } => "hello_too_large",
            Self::NotClientHello { .. } => "not_client_hello",
            Self::Malformed { .. } => "malformed",
            Self::InvalidName { .. } => "invalid_name",
            Self::Eof { .. } => "eof",
            Self::DeadlinePassed => "deadline_passed",
            Self::GaveWay => "gave_way",
        }
    }
}

/// Which part of a ClientHello is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformation {
    /// A handshake record without content (RFC 8446 §5.1 forbids it).
    #[error("an empty handshake record")]
    EmptyRecord,
    /// The version or the random is cut short.
    #[error("version or random")]
    VersionOrRandom,
    /// The session id is cut short or longer than 32 bytes.
    #[error("session id")]
    SessionId,
    /// The cipher suites are absent, cut short or of odd length.
    #[error("cipher suites")]
    CipherSuites,
    /// No compression method, or a list cut short.
    #[error("compression methods")]
    CompressionMethods,
    /// The extension block or one extension claims another length than it has.
    #[error("lengths of extensions")]
    Extensions,
    /// An extension stands there twice (RFC 8446 §4.2).
    #[error("extension {extension} twice")]
    DuplicateExtension {
        /// Its type.
        extension: u16,
    },
    /// The server_name extension does not hold exactly one non-empty host name.
    #[error("server_name extension")]
    ServerName,
    /// The ALPN extension is no list of non-empty names (RFC 7301 §3.1).
    #[error("ALPN extension")]
    Alpn,
    /// The supported_versions extension is no list of versions (RFC 8446 §4.2.1).
    #[error("supported_versions extension")]
    SupportedVersions,
    /// The key_share extension is no list of key shares (RFC 8446 §4.2.8).
    #[error("key_share extension")]
    KeyShare,
    /// The encrypted_client_hello extension has neither form of RFC 9849 §5.
    #[error("encrypted_client_hello extension")]
    EncryptedClientHello,
}

impl Malformation {
    const fn alert(self) -> AlertDescription {
        match self {
            Self::DuplicateExtension { .. } => AlertDescription::ILLEGAL_PARAMETER,
            Self::EmptyRecord
            | Self::VersionOrRandom
            | Self::SessionId
            | Self::CipherSuites
            | Self::CompressionMethods
            | Self::Extensions
            | Self::ServerName
            | Self::Alpn
            | Self::SupportedVersions
            | Self::KeyShare
            | Self::EncryptedClientHello => AlertDescription::DECODE_ERROR,
        }
    }
}
