//! HTTP connections of visitors, whatever they arrived on.

use super::arrival::Arrival;
use super::hub::Hub;
use super::proxy::{self, Visitor};
use super::reply::Answer;
use adit_router::{Screen, Screened, Turns};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long a visitor may take from the first octet of a request's head to its last.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// How long a connection may be silent before its first octet.
const FIRST_OCTET_DEADLINE: Duration = Duration::from_secs(10);

/// After how long without a frame a visitor of HTTP/2 is asked whether it is there, and how long it may take to say so.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a connection may lie idle between two requests.
const IDLE_DEADLINE: Duration = Duration::from_secs(90);

/// Serves one connection that arrived on the HTTP port.
pub(super) async fn serve_plain(hub: Arc<Hub>, socket: TcpStream, address: SocketAddr) {
    match Arrival::take(&hub, socket, address).await {
        Ok(Arrival { io, address, local }) => {
            serve(hub, io, Visitor { address, local, tls: None, port: None }).await
        }
        Err(error) => tracing::debug!(%error, "a connection has no visitor"),
    }
}

/// Serves HTTP/1.1 and HTTP/2 on `io` until the visitor goes or the gateway drains.
pub(super) async fn serve<Io>(hub: Arc<Hub>, io: Io, visitor: Visitor)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let draining = hub.draining.clone();
    let (io, turns) = Screened::new(io, Screen::new());
    let io = io.first_octet_deadline(FIRST_OCTET_DEADLINE).head_deadline(HEAD_DEADLINE);
    let service =
        service_fn(move |request| in_turn(turns.clone(), Arc::clone(&hub), visitor.clone(), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_DEADLINE).max_buf_size(MAX_HEAD_BYTES);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_KEEP_ALIVE)
        .keep_alive_timeout(H2_KEEP_ALIVE)
        .max_header_list_size(MAX_HEAD_LIST_BYTES)
        .max_concurrent_streams(250);
    let connection = server.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a visitor's connection failed");
    }
}

/// Answers a request of HTTP/1 as the screen on its octets says, and any other as it came.
fn in_turn(
    turns: Turns,
    hub: Arc<Hub>,
    visitor: Visitor,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, h2::Error>> {
    let is_screened = request.version() < Version::HTTP_2;
    // Counted here, when the request comes, not when its answer is first awaited.
    let begun = if is_screened { turns.begin() } else { Ok(()) };
    async move {
        let answer = match begun {
            Ok(()) => proxy::answer(hub, visitor, request).await?,
            Err(error) => return Ok(proxy::refuse_octets(&error)),
        };
        if !is_screened {
            return Ok(answer);
        }
        turns.answered(answer.status() == StatusCode::SWITCHING_PROTOCOLS);
        Ok(match turns.fault() {
            Some(error) => proxy::refuse_octets(&error),
            None => answer,
        })
    }
}

/// The most that is read of a head, and hyper's buffer for bodies, in octets; the request gate refuses a little earlier
/// with an answer.
const MAX_HEAD_BYTES: usize = 80 * 1024;

/// The same for HTTP/2, where each field counts 32 octets more (RFC 9113 §6.5.2).
const MAX_HEAD_LIST_BYTES: u32 = 96 * 1024;
