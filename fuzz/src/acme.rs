//! What a certificate authority answers while an order runs, and what visitors ask of the board meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::{
    ACME_TLS_1, AcmeAccount, AcmeExchange, AcmeSigner, AcmeTransport, ApprovedRequest, AuthorisedNames,
    CertificateRequest, ChallengeBoard, CsrCheck, Issuance, KeyGenerator, LocalCa, NewAcmeAccount, NewCa,
    PrivateKey, ServerName, SniffLimits, Sniffer,
};
use bytes::Bytes;
use http::{Request, Response};

/// An order with an authority that certifies what is ordered, but for the answers that the input puts in the place of its
/// own; or a visitor who looks for the answers to challenges.
///
/// ```text
///  byte  0
///       +-----------+----------------------------------------------------------------------
///       | even      | records of: path, status, length (2 bytes), and so many bytes: a Retry-After field up to the
///       |           | first line feed, and the body
///       | 1, 5, 9 … | a token to post, and to ask for
///       | 3, 7 …    | the first octets of a TLS connection
///       +-----------+----------------------------------------------------------------------
/// ```
///
/// Properties: an order ends after a bounded number of requests and, if it ends well, with the ordered key and name; errors
/// are short, and without the authority's control characters; when it is over, no answer is left on the board. Visitors
/// get an answer for the posted token, host and protocol, and for nothing else.
///
/// # Panics
/// If a property is broken.
pub fn acme(data: &[u8]) {
    let Some((kind, input)) = data.split_first() else { return };
    match kind % 4 {
        0 | 2 => order(input),
        1 => token(input),
        _ => hello(input),
    }
}

fn order(input: &[u8]) {
    let room = &*ROOM;
    let board = ChallengeBoard::default();
    let requests = Arc::new(AtomicUsize::new(0));
    let played = Played { instead: Mutex::new(records(input)), requests: Arc::clone(&requests) };
    let signer = room.signer(Arc::new(played), board.clone());
    let outcome = room.run(signer.order(&room.request, now()));
    assert!(requests.load(Ordering::Relaxed) <= MAX_REQUESTS, "the authority keeps us busy");
    match outcome {
        Ok(issued) => {
            let leaf = issued.chain.first().expect("a chain has its certificate");
            assert!(contains(leaf, room.request.public_key_der()) && contains(leaf, HOST.as_bytes()));
            assert!(issued.not_after > now());
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 300 && !said.chars().any(char::is_control), "{said:?}");
        }
    }
    for path in [PATH, "/.well-known/acme-challenge/other"] {
        assert_eq!(board.http_answer(now(), &room.host, path), None, "an answer was left behind");
    }
}

fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let board = ChallengeBoard::default();
    let host = &ROOM.host;
    let is_token = (1..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let posting = board.post_http(now(), host, text, "proof");
    assert_eq!(posting.is_ok(), is_token);
    let path = format!("/.well-known/acme-challenge/{text}");
    let other: ServerName = "other.example".parse().expect("a name");
    assert_eq!(board.http_answer(now(), host, &path).is_some(), is_token);
    assert_eq!(board.http_answer(now(), &other, &path), None);
    drop(posting);
    assert_eq!(board.http_answer(now(), host, &path), None);
    let _posting = board.post_http(now(), host, "token", "proof").expect("a token");
    assert_eq!(board.http_answer(now(), host, text).is_some(), text == PATH);
    assert_eq!(board.http_answer(now(), host, &path).is_some(), text == "token");
}

fn hello(input: &[u8]) {
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let _ = sniffer.receive(input);
    let (Some(Ok(hello)), _) = sniffer.into_parts() else { return };
    let is_challenge = hello.alpn().iter().eq([ACME_TLS_1]) && hello.server_name() == Some(&ROOM.host);
    assert_eq!(ROOM.board.tls_config(now(), &hello).is_some(), is_challenge);
}

/// Answers by path; the last of [`PATHS`] is the chain.
struct Played {
    instead: Mutex<HashMap<&'static str, VecDeque<Response<Bytes>>>>,
    requests: Arc<AtomicUsize>,
}

impl AcmeTransport for Played {
    fn send(&self, request: Request<Bytes>) -> AcmeExchange {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path();
        let mut instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = instead.get_mut(path).and_then(VecDeque::pop_front).or_else(|| usual(path, count));
        Box::pin(async move { answer.ok_or_else(|| "nobody there".into()) })
    }
}

fn records(mut input: &[u8]) -> HashMap<&'static str, VecDeque<Response<Bytes>>> {
    let mut records: HashMap<_, VecDeque<_>> = HashMap::new();
    while let Some((&[path, status, high, low], rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (content, after) = rest.split_at(length);
        input = after;
        let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let (field, body) = content.split_at(end);
        let mut answer = Response::builder()
            .status(STATUSES[usize::from(status) % STATUSES.len()])
            .header("replay-nonce", "bm9uY2U")
            .header("location", if path & 0x80 == 0 { "https://acme.test/poll" } else { "elsewhere" });
        if !field.is_empty() {
            answer = answer.header("retry-after", field);
        }
        let body = body.strip_prefix(b"\n").unwrap_or(body);
        let Ok(answer) = answer.body(Bytes::copy_from_slice(body)) else { continue };
        records.entry(PATHS[usize::from(path & 0x7f) % PATHS.len()]).or_default().push_back(answer);
    }
    records
}

/// What an honest authority says.
fn usual(path: &str, count: usize) -> Option<Response<Bytes>> {
    let order = |status: &str, certificate: &str| {
        format!(
            r#"{{"status":"{status}","authorizations":["https://acme.test/authz"],
            "finalize":"https://acme.test/finalize"{certificate}}}"#
        )
    };
    let challenge =
        r#"{"type":"http-01","url":"https://acme.test/challenge","token":"token","status":"pending"}"#;
    let body = match path {
        "/directory" => r#"{"newNonce":"https://acme.test/nonce","newAccount":"https://acme.test/new",
            "newOrder":"https://acme.test/order"}"#
            .to_owned(),
        "/nonce" => String::new(),
        "/new" => r#"{"status":"valid"}"#.to_owned(),
        "/order" => order("pending", ""),
        "/authz" => format!(
            r#"{{"status":"pending","identifier":{{"type":"dns","value":"{HOST}"}},"challenges":[{challenge}]}}"#
        ),
        "/challenge" => challenge.to_owned(),
        "/poll" if count <= 6 => order("ready", ""),
        "/poll" => order("valid", r#","certificate":"https://acme.test/cert""#),
        "/finalize" => order("processing", ""),
        "/cert" => ROOM.chain.clone(),
        _ => return None,
    };
    let location = if path == "/new" { "https://acme.test/account" } else { "https://acme.test/poll" };
    let answer = Response::builder().status(if path == "/order" || path == "/new" { 201 } else { 200 });
    answer.header("replay-nonce", "bm9uY2U").header("location", location).body(body.into()).ok()
}

struct Room {
    provider: Arc<CryptoProvider>,
    account: String,
    host: ServerName,
    request: ApprovedRequest,
    chain: String,
    /// With the answer to a TLS-ALPN-01 challenge on it.
    board: ChallengeBoard,
}

impl Room {
    fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let host: ServerName = HOST.parse().expect("a name");
        let key = PrivateKey::generate(KeyGenerator::RING, &provider).expect("a key");
        let der = CertificateRequest::new(std::slice::from_ref(&host), &key).expect("a request");
        let names = AuthorisedNames::new([host.clone()]).expect("a name");
        let request = CsrCheck::new(Arc::clone(&provider)).check_der(der.der(), &names).expect("a good one");
        let ca = LocalCa::generate(KeyGenerator::RING, &provider, NewCa::new("Fuzz", now() - DAY, [1; 16]));
        let issued = ca.expect("a key").issue(&request, Issuance::new(now(), [1; 16])).expect("it is valid");
        let chain = issued.chain.iter().map(|der| pem(der)).collect();
        let board = ChallengeBoard::new(10, DAY);
        let posting = board.post_tls(now(), &host, "proof", KeyGenerator::RING, &provider);
        // It stays for as long as the process.
        std::mem::forget(posting.expect("a certificate"));
        let account = account();
        Self { provider, account, host, request, chain, board }
    }

    fn signer(&self, played: Arc<Played>, board: ChallengeBoard) -> AcmeSigner {
        let account = AcmeAccount::from_json(&self.account).expect("an account");
        let builder =
            AcmeSigner::builder(account, played, board, KeyGenerator::RING, Arc::clone(&self.provider));
        builder.patience(Duration::from_secs(5)).build()
    }

    /// Runs until it ends, without waiting for any time to pass.
    fn run<F: Future>(&self, future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(future)
    }
}

/// An account with the honest authority, made once: its key takes time.
fn account() -> String {
    let transport: Arc<dyn AcmeTransport> =
        Arc::new(Played { instead: Mutex::default(), requests: Arc::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let new = NewAcmeAccount::new("https://acme.test/directory").agree_to_terms(true);
    let account = runtime.block_on(AcmeAccount::create(&transport, &new, now())).expect("an account");
    account.to_json().to_string()
}

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

static ROOM: LazyLock<Room> = LazyLock::new(Room::new);

const HOST: &str = "app.example";
const PATH: &str = "/.well-known/acme-challenge/token";
const PATHS: [&str; 9] =
    ["/directory", "/nonce", "/new", "/order", "/authz", "/challenge", "/poll", "/finalize", "/cert"];
const STATUSES: [u16; 8] = [200, 201, 400, 403, 429, 500, 503, 302];
/// Far more than an order takes, with its retries; an authority that could ask for more could keep a gateway busy.
const MAX_REQUESTS: usize = 200;
const DAY: Duration = Duration::from_secs(86_400);
