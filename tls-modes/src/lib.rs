#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod hello;
pub use hello::{
    AlpnProtocols, ClientHello, Ech, HelloError, HelloRoom, KeyShare, Malformation, ProtocolVersion,
    RoomFull, RoomLimits, SeatId, Sniff, SniffLimits, Sniffer,
};
#[cfg(feature = "ja4")]
pub use hello::{Ja4, Ja4Transport};

mod server_name;
pub use server_name::{ServerName, ServerNameError};

mod alert;
pub use alert::AlertDescription;

mod mode;
pub use mode::{ACME_TLS_1, Domain, Mode, ModePolicy, ModeRefusal, NameStanding, choose_mode};

#[cfg(feature = "tokio")]
mod io;
#[cfg(feature = "tokio")]
pub use io::{SniffError, SniffRoom, SniffSeat, Sniffed, refuse, sniff};

#[cfg(all(feature = "tokio", feature = "proxy-protocol"))]
pub use io::{ReadProxyError, read_proxy_header};

#[cfg(any(feature = "ca", feature = "agent", feature = "acme"))]
mod keys;
#[cfg(any(feature = "ca", feature = "agent", feature = "acme"))]
pub use keys::{KeyGenerationError, KeyGenerator, PrivateKey, PrivateKeyError};

#[cfg(feature = "csr")]
mod certificates;
#[cfg(feature = "csr")]
pub use certificates::{
    ApprovedRequest, AuthorisedNames, AuthorisedNamesError, CsrCheck, CsrError, Issuance, IssuedCertificate,
    KeyFingerprint, KeyIndex, KeyRefused, QuotaExceeded, SignError, SignFuture, Signer, SigningQuota,
};
#[cfg(feature = "ca")]
pub use certificates::{
    CaLoadError, CertificateSerial, LocalCa, NewCa, RevocationError, RevocationList, RevocationReason,
};

#[cfg(any(feature = "edge", feature = "agent"))]
mod server_certificate;
#[cfg(any(feature = "edge", feature = "agent"))]
pub use server_certificate::{CertificateError, NamePattern, ServerCertificate};

#[cfg(feature = "edge")]
mod edge;
#[cfg(feature = "edge")]
pub use edge::{Edge, EdgeAcceptError, EdgeBuilder, EdgeHost, EdgeInstallError, ResumptionScope};

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "agent")]
pub use agent::{
    CertificateRequest, CertificateStore, LiveCertificate, RequestError, StoreError, StoredCertificate,
};

#[cfg(any(feature = "agent", feature = "acme"))]
mod renewal;
#[cfg(any(feature = "agent", feature = "acme"))]
pub use renewal::{renew_at, retry_after};

#[cfg(feature = "acme")]
mod acme;
#[cfg(feature = "acme")]
pub use acme::{
    AcmeAccount, AcmeError, AcmeExchange, AcmeNext, AcmeProblem, AcmeSigner, AcmeSignerBuilder,
    AcmeTransport, BoardError, ChallengeBoard, ChallengeKind, ExternalAccount, NewAcmeAccount, Posting,
};

#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "quic")]
pub use quic::{
    AdmittedFlow, ConnectionId, DatagramError, FlowId, FlowLimits, FlowTable, HeldDatagram, InitialHello,
    InitialLimits, InitialRefusal, InitialSniff, InitialSniffer, NoQuicSuite, QuicCrypto, QuicFront,
    QuicLimits, QuicVerdict, QuicVersion, Reply,
};

#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
#[cfg(feature = "proxy-protocol")]
pub use proxy_protocol::{
    ProxyError, ProxyHeader, ProxyLimits, ProxyRead, ProxyReader, ProxyVersion, SourceNetwork,
    SourceNetworkError, TrustedSources,
};

/// The TLS library whose types stand in this crate's API, in the version that it was built with.
#[cfg(any(feature = "edge", feature = "csr", feature = "agent", feature = "quic"))]
pub use rustls;

mod reader;
