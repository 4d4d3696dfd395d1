//! Answers that are given before a request's body was read, and those that have none.

use adit_router::{Screen, Screened};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const INNER: &str = "GET /inner HTTP/1.1\r\nhost: b\r\n\r\n";

/// What a visitor gets for `octets` from a server that answers with `status` and reads no body; and the paths it saw.
async fn visit(octets: &str, status: StatusCode) -> (String, Vec<String>) {
    let (mut visitor, server) = duplex(64 * 1024);
    let (screened, turns) = Screened::new(server, Screen::new());
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        turns.begin().unwrap();
        seen.lock().unwrap().push(request.uri().path().to_owned());
        let mut response = Response::new(Full::new(Bytes::from_static(b"no")));
        *response.status_mut() = status;
        turns.answered(false);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(screened), service);
    let talking = async {
        visitor.write_all(octets.as_bytes()).await.unwrap();
        let mut first = Vec::new();
        // The visitor hears the answer before it ends, as one would who has more to send.
        while status == StatusCode::PAYLOAD_TOO_LARGE && !first.ends_with(b"\r\n\r\nno") {
            first.push(visitor.read_u8().await.unwrap());
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            visitor.shutdown().await.unwrap();
        }
        let mut answers = String::from_utf8(first).unwrap();
        // A server that gives the connection up has said all it wants to.
        let _ = visitor.read_to_string(&mut answers).await;
        answers
    };
    let (_, answers) = tokio::join!(serving, talking);
    let paths = paths.lock().unwrap().clone();
    (answers, paths)
}

#[tokio::test]
async fn r22_a_body_that_was_answered_unread_is_never_read_as_a_request() {
    for (framing, body) in [
        (format!("content-length: {}", INNER.len()), INNER.to_owned()),
        ("transfer-encoding: chunked".to_owned(), format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len())),
        // Of this one only a part ever comes.
        ("content-length: 1000000".to_owned(), INNER.to_owned()),
    ] {
        let octets = format!("POST /outer HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}");
        let (answers, paths) = visit(&octets, StatusCode::PAYLOAD_TOO_LARGE).await;
        assert!(answers.starts_with("HTTP/1.1 413"), "{framing}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{framing}: {answers}");
        assert_eq!(paths, ["/outer"], "{framing}");
    }
}

#[tokio::test]
async fn r22_answers_to_head_and_304_have_no_body_and_the_next_request_its_own_answer() {
    for (method, status) in [("HEAD", StatusCode::OK), ("GET", StatusCode::NOT_MODIFIED)] {
        let octets = format!(
            "{method} /1 HTTP/1.1\r\nhost: a\r\n\r\n{method} /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let (answers, paths) = visit(&octets, status).await;
        assert_eq!(paths, ["/1", "/2"], "{method}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{method}: {answers}");
        assert!(
            answers.split("\r\n\r\n").skip(1).all(|rest| rest.is_empty() || rest.starts_with("HTTP/1.1 "))
        );
    }
}
