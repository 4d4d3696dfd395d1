//! The service behind the agent: HTTP with everything that is hard to carry, and a TCP echo.

use super::pattern::{Pattern, hex};
use crate::BoxError;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The header with which the answer to an upload names the digest of what arrived.
pub(crate) const DIGEST: &str = "x-digest";

type Reply = Response<BoxBody<Bytes, Infallible>>;

/// State of the event stream: the visitor asks for each event, so that one which is held back is never seen.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Option<mpsc::Sender<()>>>>);

/// Serves HTTP/1.1 until dropped.
pub(crate) async fn serve_http(listener: TcpListener) {
    let events = Events::default();
    while let Ok((socket, _)) = listener.accept().await {
        let events = events.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, events.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(socket), service);
            // The visitor going away is no failure of the upstream's.
            let _ = connection.with_upgrades().await;
        });
    }
}

/// Echoes what comes, and after the end of it says how much came: that only arrives if half-close is carried.
pub(crate) async fn serve_echo(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = echo(socket).await;
        });
    }
}

async fn echo(mut socket: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut total) = (vec![0; 16 * 1024], 0);
    loop {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        total += read;
        socket.write_all(&buffer[..read]).await?;
    }
    socket.write_all(format!("{total} octets").as_bytes()).await?;
    socket.shutdown().await
}

async fn answer(mut request: Request<Incoming>, events: Events) -> Result<Reply, BoxError> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/") => Ok(text("hello from the upstream\n")),
        (&Method::GET, "/headers") => headers(&request),
        (&Method::PUT, "/blob") => upload(request.into_body()).await,
        (&Method::GET, "/ws") => websocket(&mut request),
        (&Method::GET, "/events") => Ok(event_stream(&events).await),
        (&Method::POST, "/events/next") => next_event(&events).await,
        (&Method::GET, path) if path.starts_with("/blob/") => download(&path["/blob/".len()..]),
        (&Method::GET, path) if path.starts_with("/number/") => Ok(text(path["/number/".len()..].to_owned())),
        _ => Ok(status(StatusCode::NOT_FOUND)),
    }
}

fn headers(request: &Request<Incoming>) -> Result<Reply, BoxError> {
    let fields: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Ok(text(serde_json::to_string(&fields)?))
}

async fn upload(mut body: Incoming) -> Result<Reply, BoxError> {
    let mut hash = Sha256::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            hash.update(data);
        }
    }
    let mut reply = text("");
    reply.headers_mut().insert(DIGEST, hex(&hash.finalize()).parse()?);
    Ok(reply)
}

fn download(length: &str) -> Result<Reply, BoxError> {
    Ok(Response::new(Pattern::new(length.parse()?).boxed()))
}

fn websocket(request: &mut Request<Incoming>) -> Result<Reply, BoxError> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return Ok(status(StatusCode::UPGRADE_REQUIRED));
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let (mut sink, mut source) = socket.split();
        while let Some(Ok(message)) = source.next().await {
            let wanted = message.is_text() || message.is_binary();
            if wanted && sink.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut reply = status(StatusCode::SWITCHING_PROTOCOLS);
    reply.headers_mut().insert(header::CONNECTION, "upgrade".parse()?);
    reply.headers_mut().insert(header::UPGRADE, "websocket".parse()?);
    reply.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse()?);
    Ok(reply)
}

async fn event_stream(events: &Events) -> Reply {
    let (ask, mut asked) = mpsc::channel(1);
    *events.0.lock().await = Some(ask);
    let (sender, body) = channel_body();
    tokio::spawn(async move {
        let mut number = 0;
        while asked.recv().await.is_some() {
            number += 1;
            if sender.send(Bytes::from(format!("id: {number}\ndata: event {number}\n\n"))).await.is_err() {
                return;
            }
        }
    });
    let mut reply = Response::new(body);
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    reply
}

async fn next_event(events: &Events) -> Result<Reply, BoxError> {
    let ask = events.0.lock().await.clone();
    match ask {
        Some(ask) => {
            ask.send(()).await?;
            Ok(status(StatusCode::NO_CONTENT))
        }
        None => Ok(status(StatusCode::CONFLICT)),
    }
}

/// A body fed from elsewhere, a chunk at a time.
fn channel_body() -> (mpsc::Sender<Bytes>, BoxBody<Bytes, Infallible>) {
    let (sender, receiver) = mpsc::channel(1);
    let chunks = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        receiver.recv().await.map(|chunk| (Ok(http_body::Frame::data(chunk)), receiver))
    });
    (sender, BoxBody::new(http_body_util::StreamBody::new(chunks)))
}

fn text(body: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(body.into()).boxed())
}

fn status(status: StatusCode) -> Reply {
    let mut reply = text("");
    *reply.status_mut() = status;
    reply
}
