//! Liveness and readiness for whoever runs the gateway, and the owner's API.

use super::api::{Api, Reply};
use adit_errors::idempotency::Buffered;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers `/health` (the process works) and `/ready` (it takes new visitors: 503 once `draining` is cancelled); all else
/// is the API's.
pub(super) async fn serve(listener: TcpListener, api: Arc<Api>, draining: CancellationToken) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(super::ACCEPT_PAUSE).await;
            continue;
        };
        let (api, draining) = (Arc::clone(&api), draining.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (api, is_draining) = (Arc::clone(&api), draining.is_cancelled());
                async move { Ok::<_, Infallible>(answer(&api, request, is_draining).await) }
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

async fn answer(api: &Arc<Api>, request: Request<Incoming>, is_draining: bool) -> Reply {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => (StatusCode::OK, "ok\n"),
        (&Method::GET | &Method::HEAD, "/ready") if is_draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        (&Method::GET | &Method::HEAD, "/ready") => (StatusCode::OK, "ready\n"),
        _ => return api.answer(request).await,
    };
    let mut reply = Response::new(Buffered::untouched(Full::<Bytes>::from(text)));
    *reply.status_mut() = status;
    reply
}
