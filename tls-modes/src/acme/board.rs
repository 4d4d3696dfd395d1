use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, IsCa, SanType, SerialNumber};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello as RustlsHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::acme::pending::Pending;
use crate::{ACME_TLS_1, ClientHello, KeyGenerator, PrivateKey, ServerName};

/// Where answers to the challenges of a certificate authority hang while an order is under way: whoever orders posts
/// them, whoever serves the ports of a host asks for them. Clones are one board.
///
/// ```text
///  AcmeSigner --- post_http, post_tls ---> board <--- http_answer --- port 80
///      '---------- dropped: taken down ----^   ^----- tls_config ---- port 443, before choose_mode
/// ```
///
/// An answer is given for the host that it was posted for and for no other, and not longer than its lifetime, even if
/// the order was forgotten about.
#[derive(Clone)]
pub struct ChallengeBoard {
    inner: Arc<Mutex<Board>>,
}

struct Board {
    /// By token.
    http: Pending<Box<str>, HttpAnswer>,
    /// By host.
    tls: Pending<ServerName, Arc<ServerConfig>>,
}

struct HttpAnswer {
    host: ServerName,
    key_authorization: Box<str>,
}

impl ChallengeBoard {
    /// Holds at most `max` answers of each kind, each for at most `lifetime`. [`Default`] holds 1,000 for 10 minutes:
    /// under 1 MB of tokens, or 4 MB of certificates.
    pub fn new(max: usize, lifetime: Duration) -> Self {
        let board = Board { http: Pending::new(max, lifetime), tls: Pending::new(max, lifetime) };
        Self { inner: Arc::new(Mutex::new(board)) }
    }

    /// Posts the answer to an HTTP-01 challenge (RFC 8555 §8.3) until the posting is dropped.
    ///
    /// # Errors
    /// [`BoardError`]; nothing was posted then.
    pub fn post_http(
        &self,
        now: SystemTime,
        host: &ServerName,
        token: &str,
        key_authorization: &str,
    ) -> Result<Posting, BoardError> {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // The token becomes part of a path and of an answer: an authority has no say in what else we serve.
        if !(1..=MAX_TOKEN_BYTES).contains(&token.len()) || !token.bytes().all(is_base64url) {
            return Err(BoardError::Token);
        }
        let answer = HttpAnswer { host: host.clone(), key_authorization: key_authorization.into() };
        self.lock().http.insert(now, token.into(), answer)?;
        Ok(Posting { board: self.clone(), place: Place::Http(token.into()) })
    }

    /// Posts the answer to a TLS-ALPN-01 challenge (RFC 8737 §3), a certificate made for it alone, until the posting is
    /// dropped.
    ///
    /// # Errors
    /// [`BoardError`]; nothing was posted then.
    pub fn post_tls(
        &self,
        now: SystemTime,
        host: &ServerName,
        key_authorization: &str,
        generator: KeyGenerator,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Posting, BoardError> {
        let config = challenge_config(now, host, key_authorization, generator, provider)
            .ok_or(BoardError::Certificate)?;
        self.lock().tls.insert(now, host.clone(), config)?;
        Ok(Posting { board: self.clone(), place: Place::Tls(host.clone()) })
    }

    /// What to answer to a plain `GET` of `path` on `host`: the body, of type `application/octet-stream`, or `None` if
    /// no order of ours waits for it.
    pub fn http_answer(&self, now: SystemTime, host: &ServerName, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_01_PATH)?;
        let board = self.lock();
        let answer = board.http.find(now, token).filter(|answer| answer.host == *host)?;
        Some(answer.key_authorization.as_ref().into())
    }

    /// The configuration with which to end TLS for this hello, if it is a challenge for a host that waits for one: it
    /// has to offer `acme-tls/1` and nothing beside. Close the connection after the handshake (RFC 8737 §3).
    ///
    /// Ask before [`choose_mode`](crate::choose_mode), which refuses most challenges.
    pub fn tls_config(&self, now: SystemTime, hello: &ClientHello) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn().iter();
        let is_challenge = offered.next() == Some(ACME_TLS_1) && offered.next().is_none();
        let host = hello.server_name().filter(|_| is_challenge)?;
        self.lock().tls.find(now, host).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ChallengeBoard {
    fn default() -> Self {
        Self::new(1_000, Duration::from_secs(600))
    }
}

impl fmt::Debug for ChallengeBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeBoard").finish_non_exhaustive()
    }
}

/// An answer that hangs on a [`ChallengeBoard`]; dropping this takes it down.
#[derive(Debug)]
#[must_use = "dropped at once, nobody would see the answer"]
pub struct Posting {
    board: ChallengeBoard,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Http(Box<str>),
    Tls(ServerName),
}

impl Drop for Posting {
    fn drop(&mut self) {
        let mut board = self.board.lock();
        match &self.place {
            Place::Http(token) => board.http.remove(&**token),
            Place::Tls(host) => board.tls.remove(host),
        }
    }
}

/// Why an answer was not posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// Another order for the same host is under way: wait for it.
    #[error("another order for this host is under way")]
    Busy,
    /// As many answers wait as may: try again later.
    #[error("too many challenges wait for an answer")]
    Full,
    /// The authority's token is not 1 to 256 characters of base64url.
    #[error("the token of the challenge is malformed")]
    Token,
    /// No certificate could be made for the challenge.
    #[error("the certificate for the challenge could not be made")]
    Certificate,
}

fn challenge_config(
    now: SystemTime,
    host: &ServerName,
    key_authorization: &str,
    generator: KeyGenerator,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<ServerConfig>> {
    let key = PrivateKey::generate(generator, provider).ok()?;
    let certificate = challenge_certificate(now, host, key_authorization, &key)?;
    let certified = CertifiedKey::new(vec![certificate], key.signing_key());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ForHost { host: host.clone(), certified: Arc::new(certified) }));
    config.alpn_protocols = vec![ACME_TLS_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Some(Arc::new(config))
}

/// Signed by its own key, with the host and the digest of the key authorization, and good for nothing else.
fn challenge_certificate(
    now: SystemTime,
    host: &ServerName,
    key_authorization: &str,
    key: &PrivateKey,
) -> Option<CertificateDer<'static>> {
    let digest = Sha256::digest(key_authorization);
    let mut params = CertificateParams::default();
    params.not_before = now.checked_sub(CLOCK_SKEW)?.into();
    params.not_after = now.checked_add(CLOCK_SKEW)?.into();
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(host.as_str().try_into().ok()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    params.self_signed(&key.for_rcgen()).map(|certificate| certificate.der().clone()).ok()
}

#[derive(Debug)]
struct ForHost {
    host: ServerName,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ForHost {
    fn resolve(&self, hello: RustlsHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name: ServerName = hello.server_name()?.parse().ok()?;
        (name == self.host).then(|| Arc::clone(&self.certified))
    }
}

/// RFC 8555 §8.3.
const HTTP_01_PATH: &str = "/.well-known/acme-challenge/";
/// Public authorities use 43.
const MAX_TOKEN_BYTES: usize = 256;
/// By how much the authority's clock may differ; the certificate is gone long before.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3_600);
