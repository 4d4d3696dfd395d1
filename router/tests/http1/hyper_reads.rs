//! The screen before a server of hyper's, in memory: hyper reads what the screen let pass as the same requests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use adit_router::Screen;
use http::Response;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::reading::{self, Request};

/// Ordinary requests, which have to arrive: nothing below is true only because nothing is let pass.
#[test]
fn r18_ordinary_requests_reach_hyper_as_they_were_sent() {
    for (octets, count) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", 1),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\n\r\n",
            1,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n", 2),
        ("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nDELETE /x HTTP/1.1\r\nhost:\t a \r\n\r\n", 2),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\n\r\nGET /inner HTTP/1.1\r\nhost: b\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
            2,
        ),
        ("GET / HTTP/1.0\r\n\r\n", 1),
    ] {
        let (ours, hypers) = both(octets.as_bytes());
        assert_eq!(ours.len(), count, "{octets:?}");
        assert_eq!(hypers, ours, "{octets:?}");
    }
}

proptest! {
    /// hyper may refuse what passed, and closes where it was asked to. It never reads another request than the one that passed.
    #[test]
    fn r18_r19_what_passes_the_screen_hyper_reads_alike(
        parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 1..14),
    ) {
        let (ours, hypers) = both(&parts.concat());
        prop_assert!(hypers.len() <= ours.len(), "{:?} of {:?}", hypers, ours);
        for (ours, hypers) in ours.iter().zip(&hypers) {
            prop_assert_eq!(ours, hypers);
        }
    }

    /// A request with one octet changed, put in or taken out.
    #[test]
    fn r18_r19_a_damaged_request_has_one_reading_or_none(
        which in 0..WHOLE.len(), at in any::<prop::sample::Index>(), octet in any::<u8>(), how in 0..3u8,
    ) {
        let mut octets = WHOLE[which].as_bytes().to_vec();
        let at = at.index(octets.len());
        match how {
            0 => octets[at] = octet,
            1 => octets.insert(at, octet),
            _ => drop(octets.remove(at)),
        }
        let (ours, hypers) = both(&octets);
        prop_assert!(hypers.len() <= ours.len(), "{:?} of {:?}", hypers, ours);
        for (ours, hypers) in ours.iter().zip(&hypers) {
            prop_assert_eq!(ours, hypers);
        }
    }
}

/// The requests that pass, and those that hyper makes of what passes.
fn both(octets: &[u8]) -> (Vec<Request>, Vec<Request>) {
    let mut screen = Screen::new();
    let seen = screen.receive(octets);
    if screen.is_through() {
        return (Vec::new(), Vec::new());
    }
    let passed = &octets[..seen.clear];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut readings = (reading::requests(passed), runtime.block_on(hyper_reads(passed)));
    for request in readings.0.iter_mut().chain(&mut readings.1) {
        // hyper keeps the order of fields of one name only.
        request.fields.sort_by(|one, other| one.0.cmp(&other.0));
    }
    readings
}

async fn hyper_reads(octets: &[u8]) -> Vec<Request> {
    let (mut visitor, server) = tokio::io::duplex(1 << 20);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request| {
        let seen = Arc::clone(&seen);
        async move {
            let request = whole(request).await;
            seen.lock().unwrap().push(request);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let serve = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let visit = async {
        visitor.write_all(octets).await.unwrap();
        visitor.shutdown().await.unwrap();
        // Whether it answers with a refusal or at all is hyper's affair.
        let _ = visitor.read_to_end(&mut Vec::new()).await;
    };
    let (served, ()) = tokio::join!(serve, visit);
    drop(served);
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

async fn whole(request: hyper::Request<Incoming>) -> Request {
    let (head, mut body) = request.into_parts();
    let mut octets = Vec::new();
    let mut is_whole = true;
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => octets.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(_) => {
                is_whole = false;
                break;
            }
        }
    }
    let mut fields = Vec::new();
    for (name, value) in &head.headers {
        fields.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
    }
    Request { method: head.method.to_string(), target: head.uri.to_string(), fields, body: octets, is_whole }
}

const WHOLE: [&str; 4] = [
    "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhost: b\r\n\r\n",
    "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /a HTTP/1.1\r\nhost: a\r\nx-one: 1\r\nconnection: keep-alive\r\n\r\nGET /b HTTP/1.1\r\nhost: b\r\n\r\n",
    "PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\na;ext=1\r\n0123456789\r\n0\r\nx: 1\r\n\r\n",
];

const PARTS: [&[u8]; 33] = [
    b"GET /a#b HTTP/1.1\r\n",
    b"5;a\r\nhello\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.1\r\n",
    b"HEAD /a?b HTTP/1.1\r\n",
    b"M-SEARCH * HTTP/1.1\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"host: a\r\n",
    b"host: b\r\n",
    b"content-length: 5\r\n",
    b"content-length: 05 \r\n",
    b"content-length: +5\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding:\tChunked\t\r\n",
    b"transfer-encoding: identity\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive, x\r\n",
    b"upgrade: x\r\nconnection: upgrade\r\n",
    b"expect: 100-continue\r\n",
    b"x: \xff\xfe\r\n",
    b"\r\n",
    b"\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=\"b\"\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nx-trailer: 1\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nhost: s\r\n\r\n",
    b"\0",
    b" folded\r\n",
];
