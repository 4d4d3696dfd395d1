//! What visitors send first, and what agents want signed.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::SignatureScheme;
use adit_tls_modes::rustls::crypto::ring;
use adit_tls_modes::rustls::server::Acceptor;
use adit_tls_modes::{
    AuthorisedNames, ClientHello, CsrCheck, HelloError, Issuance, Ja4Transport, KeyGenerator, LocalCa, NewCa,
    PrivateKey, SniffLimits, Sniffer,
};

/// First flights over TCP, with and without records.
///
/// Properties: whole, byte by byte and cut in two agree; everything received comes out again; a verdict outlives
/// whatever follows; where rustls takes the hello too, both read the same names and protocols; a fingerprint has its
/// form, whatever was offered.
///
/// # Panics
/// If a property is broken.
pub fn client_hello(data: &[u8]) {
    let whole = sniff([data]);
    assert_eq!(whole, sniff(data.chunks(1)));
    let cut = usize::from(data.first().copied().unwrap_or(0)).min(data.len());
    let (head, tail) = data.split_at(cut);
    assert_eq!(whole, sniff([head, tail]));
    if whole.is_some() {
        assert_eq!(whole, sniff([data, &[0; 16]]));
    }
    if let Some(Ok(hello)) = &whole {
        compare_with_rustls(hello, data);
    }
    // QUIC brings the message without records.
    if let Ok(hello) = ClientHello::from_body(data) {
        let fingerprint = hello.ja4(Ja4Transport::Quic);
        let parts: Vec<usize> = fingerprint.as_str().split('_').map(str::len).collect();
        assert_eq!(parts, [10, 12, 12], "{fingerprint}");
        assert!(fingerprint.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }
}

/// Requests for certificates: DER, PEM, or the part that is signed, which is then signed with a key of ours.
///
/// ```text
///  byte  0
///       +-----------------------+----------------------
///       | 0 DER, 1 PEM, 2 info  | the request
///       +-----------------------+----------------------
/// ```
///
/// Properties: only authorised names are approved; nothing may follow a request; what is issued has exactly the approved
/// names and the key that was checked.
///
/// # Panics
/// If a property is broken.
pub fn csr(data: &[u8]) {
    let Some((kind, request)) = data.split_first() else { return };
    let room = &*SIGNING_ROOM;
    let verdict = match kind % 3 {
        0 => room.check.check_der(request, &room.names),
        1 => room.check.check_pem(request, &room.names),
        _ => room.check.check_der(&room.signed(request), &room.names),
    };
    let Ok(approved) = verdict else { return };
    assert!(!approved.names().is_empty());
    assert!(approved.names().iter().all(|name| room.names.iter().any(|authorised| authorised == name)));
    let trailing = [approved.csr_der(), &[0]].concat();
    assert!(room.check.check_der(&trailing, &room.names).is_err());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let issued = room.ca.issue(&approved, Issuance::new(now, [1; 16])).expect("the authority is valid");
    let certificate = issued.chain.first().expect("a chain has its certificate");
    assert!(contains(certificate, approved.public_key_der()));
    assert!(approved.names().iter().all(|name| contains(certificate, name.as_str().as_bytes())));
}

type Verdict = Option<Result<ClientHello, HelloError>>;

fn sniff<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let mut sent = Vec::new();
    for piece in pieces {
        let _ = sniffer.receive(piece);
        sent.extend_from_slice(piece);
    }
    let (answer, received) = sniffer.into_parts();
    assert_eq!(received, sent);
    answer
}

fn compare_with_rustls(hello: &ClientHello, data: &[u8]) {
    let mut acceptor = Acceptor::default();
    let mut rest = data;
    while !rest.is_empty() && acceptor.read_tls(&mut rest).is_ok() {
        let accepted = match acceptor.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => continue,
            Err(_) => return,
        };
        let theirs = accepted.client_hello();
        let name = theirs.server_name().map(str::to_ascii_lowercase);
        assert_eq!(hello.server_name().map(|name| name.as_str()), name.as_deref());
        let protocols = theirs.alpn().map(|protocols| protocols.map(<[u8]>::to_vec).collect::<Vec<_>>());
        assert!(hello.alpn().iter().eq(protocols.unwrap_or_default()));
        return;
    }
}

struct SigningRoom {
    check: CsrCheck,
    names: AuthorisedNames,
    ca: LocalCa,
    key: PrivateKey,
}

impl SigningRoom {
    fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let names = ["demo-7.tunnel.example", "custom.example"].map(|name| name.parse().expect("a name"));
        Self {
            ca: LocalCa::generate(KeyGenerator::RING, &provider, NewCa::new("Fuzz", start, [1; 16]))
                .expect("a key"),
            key: PrivateKey::generate(KeyGenerator::RING, &provider).expect("a key"),
            names: AuthorisedNames::new(names).expect("two names"),
            check: CsrCheck::new(provider),
        }
    }

    /// A request with this inside, where `KEY!` stands for our public key; its lengths are the fuzzer's to get right.
    fn signed(&self, info: &[u8]) -> Vec<u8> {
        let info = match info.windows(4).position(|window| window == b"KEY!") {
            Some(at) => [&info[..at], self.key.public_key_der(), &info[at + 4..]].concat(),
            None => info.to_vec(),
        };
        let info = element(0x30, &info);
        let signer = self.key.signing_key().choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signature = signer.expect("our key signs").sign(&info).expect("our key signs");
        let algorithm = element(0x30, &element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        let signature = element(0x03, &[&[0][..], &signature].concat());
        element(0x30, &[info, algorithm, signature].concat())
    }
}

/// One element of DER with the shortest length that fits.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length = match content.len() {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, content].concat()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

static SIGNING_ROOM: LazyLock<SigningRoom> = LazyLock::new(SigningRoom::new);
