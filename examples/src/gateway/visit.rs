//! One request's way through the policy of its tunnel.

use super::bodies::broken;
use super::hub::{Facts, Hub, Link};
use super::reply::Answer;
use adit_errors::{Code, Refusal};
use adit_router::{
    Decision, Denial, Forward, PendingWebhook, Receiver, ShareEntrance, Tunnel, Verdict, Visit,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long the whole body of a webhook may take.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// The longest delivery that is judged between other work; a longer one would keep others waiting.
const MAX_BYTES_BETWEEN: usize = 64 * 1024;

/// The body that goes to the upstream: as it comes, or read whole to check its signature.
pub(super) type Sent = Either<Incoming, Full<Bytes>>;

/// What becomes of a request that is not refused.
pub(super) enum Admission {
    /// It goes to the upstream.
    Forward(Forward, Box<Request<Sent>>),
    /// It came by a share's link.
    Enter(ShareEntrance),
}

/// A request that is refused, with the field that belongs to the status.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) field: Option<(HeaderName, HeaderValue)>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, field: None }
    }
}

impl From<Box<Denial>> for Refused {
    fn from(denial: Box<Denial>) -> Self {
        Self { field: denial.field().cloned(), refusal: denial.into() }
    }
}

/// Decides about a request; waits for its body, or for the machine to wake, if that is what it takes.
pub(super) async fn admit(
    hub: &Hub,
    tunnel: &Tunnel<Link, Facts>,
    source: IpAddr,
    is_tls: bool,
    request: Request<Incoming>,
) -> Result<Admission, Refused> {
    let decision = Facts::decide(tunnel, &Visit::request(source, &request).tls(is_tls));
    tracing::debug!(%decision, "decided about a request");
    let (decision, request) = match decision.into_verdict() {
        Verdict::AwaitBody(pending) => with_body(hub, tunnel, pending, request).await?,
        verdict => (verdict, request.map(Either::Left)),
    };
    match decision {
        Verdict::Forward(forward) => Ok(Admission::Forward(forward, Box::new(request))),
        Verdict::Wake(forward) => {
            tunnel.facts().life.wake().await?;
            Ok(Admission::Forward(forward, Box::new(request)))
        }
        Verdict::Enter(entrance) => Ok(Admission::Enter(entrance)),
        Verdict::Deny(denial) => Err(denial.into()),
        // A body is awaited once.
        Verdict::AwaitBody(_) => Err(Refusal::internal().into()),
    }
}

async fn with_body(
    hub: &Hub,
    tunnel: &Tunnel<Link, Facts>,
    pending: PendingWebhook,
    request: Request<Incoming>,
) -> Result<(Verdict, Request<Sent>), Refused> {
    let (parts, body) = request.into_parts();
    let body = hub.bodies.whole(body, PendingWebhook::MAX_BODY_BYTES).await?.into_bytes();
    let Facts { policy, life, .. } = tunnel.facts();
    let decision: Decision = policy.receive_body(pending, &parts.headers, &body, life.moment());
    tracing::debug!(%decision, "decided about a webhook");
    Ok((decision.into_verdict(), Request::from_parts(parts, Either::Right(Full::new(body)))))
}

/// Takes a third party's delivery, and answers 202 whether or not it is signed.
pub(super) async fn receive_webhook(
    hub: &Hub,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let (parts, body) = request.into_parts();
    let id = parts.uri.path().strip_prefix("/webhooks/").unwrap_or_default().to_owned();
    if parts.method != Method::POST {
        return Err(Refusal::from(Code::NOT_FOUND));
    }
    let held = hub.bodies.whole(body, Receiver::MAX_BODY_BYTES).await?;
    let (receivers, body) = (Arc::clone(&hub.receivers), held.bytes());
    let is_long = body.len() > MAX_BYTES_BETWEEN;
    let judge = move || receivers.receive(&id, &parts.headers, body);
    match is_long {
        true => tokio::task::spawn_blocking(judge).await.map_err(|_| Refusal::internal())??,
        false => judge()?,
    }
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Reads a body whole, if it is no longer than `max_bytes` and comes in time.
///
/// # Errors
/// 413, 408, or 400 if it breaks off.
pub(super) async fn whole<B>(body: B, max_bytes: usize) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<crate::BoxError>,
{
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, max_bytes).collect()).await;
    match collected {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(Refusal::from(Code::REQUEST_TIMEOUT)),
    }
}
