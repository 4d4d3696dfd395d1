//! A tower service that makes a tunnel once, however often it is asked:
//! `cargo run -p adit-errors --features tower --example idempotency`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use adit_errors::idempotency::{Buffered, IdempotencyLayer, Limits, MemoryStore, Principal};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower_layer::Layer;
use tower_service::Service;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(MemoryStore::new(Limits::new()));
    // A real server takes the time from a clock, and the number from a generator.
    let layer = IdempotencyLayer::new(store, (|| Duration::from_secs(1_700_000_000), || 0x5eed));
    let mut service = layer.layer(MakeTunnel::default());

    for (key, body) in [("k1", "my-app"), ("k1", "my-app"), ("k1", "other"), ("k2", "my-app")] {
        let mut request = Request::post("/tunnels").header("idempotency-key", key).body(Full::from(body))?;
        // What your authorisation does, once it has checked the credential.
        request.extensions_mut().insert(Principal::new("token-7")?);
        let response = service.call(request).await?;
        let (status, replay) = (response.status(), response.headers().contains_key("x-idempotent-replay"));
        let answer = response.into_body().collect().await?.to_bytes();
        println!("{key} {body:<7} {status} replay={replay:<5} {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

#[derive(Clone, Default)]
struct MakeTunnel {
    made: Arc<AtomicU32>,
}

impl Service<Request<Buffered<Full<Bytes>>>> for MakeTunnel {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Buffered<Full<Bytes>>>) -> Self::Future {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Full::from(format!("tunnel number {number}")))))
    }
}
