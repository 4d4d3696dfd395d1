//! R-20 on raw frames of HTTP/2: what hyper's server and the gate together make of heads that no good client sends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test, with a server beside it"
)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_errors::Refusal;
use adit_router::{Reaction, RequestGate};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

type Field<'a> = (&'a [u8], &'a [u8]);

#[tokio::test]
async fn r20_malformed_heads_end_their_stream_and_reach_nobody() {
    let (mut closed, mut answered) = (Vec::new(), Vec::new());
    for (what, fields) in [
        ("CR in a value", with(b"x", b"a\rb")),
        ("LF in a value", with(b"x", b"a\nb")),
        ("NUL in a value", with(b"x", b"a\0b")),
        ("a request in a value", with(b"x", b"a\r\nhost: b")),
        ("CR LF in a name", with(b"x\r\ny", b"a")),
        ("a capital in a name", with(b"X-Name", b"a")),
        ("a colon in a name", with(b"x:y", b"a")),
        ("a space in a name", with(b"x y", b"a")),
        ("an empty name", with(b"", b"a")),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("connection", with(b"connection", b"close")),
        ("connection that names a field", with(b"connection", b"x")),
        ("keep-alive", with(b"keep-alive", b"1")),
        ("proxy-connection", with(b"proxy-connection", b"close")),
        ("upgrade", with(b"upgrade", b"websocket")),
        ("te with something else than trailers", with(b"te", b"gzip")),
        ("a pseudo-header behind a field", with(b":path", b"/other")),
        ("an unknown pseudo-header", [&[(&b":x"[..], &b"a"[..])], GOOD].concat()),
        ("a pseudo-header of answers", [&[(&b":status"[..], &b"200"[..])], GOOD].concat()),
        ("host beside another authority", with(b"host", b"b.example")),
        ("a length that is none", with(b"content-length", b"+1")),
        ("two lengths", [GOOD, &[(b"content-length", b"1"), (b"content-length", b"2")]].concat()),
        ("a space in :path", replaced(b":path", Some(b"/a b"))),
        ("a line end in :path", replaced(b":path", Some(b"/ HTTP/1.1\r\nx: y"))),
        ("an empty :path", replaced(b":path", Some(b""))),
        ("no :path", replaced(b":path", None)),
        ("no :method", replaced(b":method", None)),
        ("a space in :method", replaced(b":method", Some(b"GET / HTTP/1.1\r\n"))),
        ("no :scheme", replaced(b":scheme", None)),
        ("no :authority", replaced(b":authority", None)),
        ("user information in :authority", replaced(b":authority", Some(b"u@a.example"))),
        ("two :method", [&GOOD[..1], GOOD].concat()),
        ("two :path", [&GOOD[2..3], GOOD].concat()),
        ("two :authority", [&GOOD[3..], GOOD].concat()),
    ] {
        let mut peer = Peer::connect().await;
        peer.send(1, &fields).await;
        let end = peer.end_of(1).await;
        assert_eq!(peer.reached(), 0, "{what} reached the upstream");
        if end == End::Connection(PROTOCOL_ERROR) {
            closed.push(what);
            continue;
        }
        if end == End::Status(400) {
            answered.push(what);
        } else {
            assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{what}");
        }
        // A stream's error is no connection's: the next stream is served.
        peer.send(3, GOOD).await;
        assert_eq!(peer.end_of(3).await, End::Status(200), "behind {what}");
        assert_eq!(peer.reached(), 1);
    }
    assert_eq!(closed, ENDING_THE_CONNECTION);
    // A host that is none is told so.
    assert_eq!(answered, ["user information in :authority"]);
}

/// To h2 an octet that no field has is an error of the compression: it ends the connection, and with it all streams of the
/// one who sent it, where RFC 9113 §8.1.1 would have the stream end.
const ENDING_THE_CONNECTION: &[&str] = &[
    "CR in a value",
    "LF in a value",
    "NUL in a value",
    "a request in a value",
    "CR LF in a name",
    "a capital in a name",
    "a colon in a name",
    "a space in a name",
    "an empty name",
    "an unknown pseudo-header",
    "a space in :method",
];

/// What the table above leaves out, so that it isn't true of everything.
#[tokio::test]
async fn r20_ordinary_heads_reach_the_upstream() {
    for fields in [
        GOOD.to_vec(),
        with(b"te", b"trailers"),
        with(b"x-name", b"a \t\xff"),
        with(b"host", b"a.example"),
        with(b"cookie", b""),
        replaced(b":path", Some(b"/a%20b//../%00\\")),
        replaced(b":method", Some(b"FROB")),
    ] {
        let mut peer = Peer::connect().await;
        peer.send(1, &fields).await;
        assert_eq!(peer.end_of(1).await, End::Status(200), "{fields:?}");
        assert_eq!(peer.reached(), 1);
    }
}

const GOOD: &[Field<'static>] =
    &[(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.example")];

fn with(name: &'static [u8], value: &'static [u8]) -> Vec<Field<'static>> {
    [GOOD, &[(name, value)]].concat()
}

fn replaced(name: &[u8], value: Option<&'static [u8]>) -> Vec<Field<'static>> {
    let field = |field: &Field<'static>| match value {
        _ if field.0 != name => Some(*field),
        value => value.map(|value| (field.0, value)),
    };
    GOOD.iter().filter_map(field).collect()
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Status(u16),
    Reset(u32),
    /// Together with its connection.
    Connection(u32),
}

/// A client that sends what it is told to, to a server as a gateway has it: hyper's, with the gate in its service.
struct Peer {
    io: DuplexStream,
    reached: Arc<AtomicUsize>,
}

impl Peer {
    async fn connect() -> Self {
        let (io, server) = tokio::io::duplex(1 << 16);
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let service = service_fn(move |request| serve(request, Arc::clone(&counter)));
        let connection = http2::Builder::new(Spawn).serve_connection(TokioIo::new(server), service);
        tokio::spawn(connection);
        let mut peer = Self { io, reached };
        peer.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        peer.frame(SETTINGS, 0, 0, &[]).await;
        peer
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// A head in which nothing is compressed, so that any octets can stand in it (RFC 7541 §6.2.2).
    async fn send(&mut self, stream: u32, fields: &[Field<'_>]) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
                block.extend_from_slice(text);
            }
        }
        self.frame(HEADERS, END_STREAM | END_HEADERS, stream, &block).await;
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.io.write_all(&frame).await.unwrap();
    }

    async fn end_of(&mut self, stream: u32) -> End {
        loop {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await.expect("a stream ends before its connection does");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.io.read_exact(&mut payload).await.unwrap();
            if head[3] == GOAWAY {
                return End::Connection(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            if u32::from_be_bytes([head[5], head[6], head[7], head[8]]) != stream {
                continue;
            }
            match head[3] {
                HEADERS => return End::Status(status(&payload)),
                RST_STREAM => return End::Reset(u32::from_be_bytes(payload.try_into().unwrap())),
                _ => {}
            }
        }
    }
}

/// The first field of an answer's head: indexed for 200 and 400, which is all that is answered here (RFC 7541 §A).
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x8c) => 400,
        other => panic!("another status: {other:?}"),
    }
}

/// What a gateway does: what the gate refuses is reset or answered as it says, the rest goes on.
async fn serve(
    request: Request<Incoming>,
    reached: Arc<AtomicUsize>,
) -> Result<Response<Empty<Bytes>>, Box<dyn Error + Send + Sync>> {
    let Err(refused) = RequestGate::new().admit(&request, None) else {
        reached.fetch_add(1, Ordering::SeqCst);
        return Ok(Response::new(Empty::new()));
    };
    if refused.reaction(request.version()) == Reaction::ResetStream {
        return Err(Box::new(h2::Error::from(h2::Reason::PROTOCOL_ERROR)));
    }
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = http::StatusCode::from_u16(Refusal::from(&refused).status())?;
    Ok(answer)
}

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
