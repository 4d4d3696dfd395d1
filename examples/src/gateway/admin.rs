//! Liveness and readiness for whoever runs the gateway.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers `/health` (the process works) and `/ready` (it takes new visitors: 503 once `draining` is cancelled).
pub(super) async fn serve(listener: TcpListener, draining: CancellationToken) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(super::ACCEPT_PAUSE).await;
            continue;
        };
        let draining = draining.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let reply = answer(&request, draining.is_cancelled());
                async move { Ok::<_, Infallible>(reply) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(socket), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection failed");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, draining: bool) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => (StatusCode::OK, "ok\n"),
        (&Method::GET | &Method::HEAD, "/ready") if draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        (&Method::GET | &Method::HEAD, "/ready") => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::NOT_FOUND, "GET /health or /ready\n"),
    };
    let mut reply = Response::new(Full::from(text));
    *reply.status_mut() = status;
    reply
}
