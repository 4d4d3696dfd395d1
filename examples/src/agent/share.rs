//! A share for the tunnel, made by the gateway's admin API once the tunnel is public.

use super::config::Config;
use super::report::{Event, Secret};
use crate::BoxError;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the admin API may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Reports on, and makes the share that the command line asks for when the tunnel is public the first time.
pub(super) fn when_serving(
    config: &Config,
    report: impl Fn(Event) + Send + Sync + 'static,
) -> impl Fn(Event) + Send + Sync + 'static {
    let (config, is_made, report) = (config.clone(), AtomicBool::new(false), Arc::new(report));
    move |event| {
        let name = match &event {
            Event::Serving { name, .. } => Some(name.clone()),
            _ => None,
        };
        report(event);
        let (Some(name), Some(expires)) = (name, &config.terms.share) else { return };
        if is_made.swap(true, Ordering::SeqCst) {
            return;
        }
        let (admin, expires, report) = (config.terms.admin.clone(), expires.clone(), Arc::clone(&report));
        tokio::spawn(async move {
            match tokio::time::timeout(DEADLINE, make(&admin, &name, &expires)).await {
                Ok(Ok(link)) => report(Event::Shared { link: Secret(link) }),
                Ok(Err(error)) => report(Event::NotShared { reason: error.to_string() }),
                Err(_) => {
                    report(Event::NotShared { reason: "the admin API did not answer in time".to_owned() })
                }
            }
        });
    }
}

async fn make(admin: &str, name: &str, expires: &str) -> Result<String, BoxError> {
    let token = std::env::var("ADIT_ADMIN_TOKEN").map_err(|_| "no ADIT_ADMIN_TOKEN, which shares need")?;
    let body = serde_json::json!({ "name": format!("{name}, {expires}"), "expiresIn": expires });
    let request = Request::post(format!("/tunnels/{name}/shares"))
        .header(header::HOST, admin)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::<Bytes>::from(body.to_string()))?;
    let socket = TcpStream::connect(admin).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    match status {
        StatusCode::CREATED => Ok(text("shareUrl")),
        _ => Err(format!("{} ({})", text("message"), text("error")).into()),
    }
}
