//! One HTTP exchange: from a visitor's request to an agent's answer, bodies streamed both ways.

use super::expect::{Awaited, await_continue};
use super::failover;
use super::hub::{Facts, Hub, Link, Work};
use super::leased::Leased;
use super::life;
use super::own;
use super::repeat::{Borrowed, Loss, Original, Unanswered, await_another};
use super::reply::{self, Answer, Guarded};
use super::stick;
use super::visit::{self, Admission, Refused, Sent};
use crate::random;
use adit_errors::{Code, Format, Refusal, RequestId, Style};
use adit_mux::Stream;
use adit_naming::Host;
use adit_router::{
    Admitted, CookieScope, Reaction, RequestGate, RouteKey, ScreenError, Stick, Traffic, Tunnel,
    Visitor as Forwarded, prepare_request, prepare_response,
};
use adit_wire_proto::{Protocol, StreamHeadBuilder, TlsFacts};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long an agent may take to begin its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// The field that names a request, towards visitor and upstream.
const X_REQUEST_ID: &str = "x-request-id";

/// Who is on a connection, and how they came.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Where the connection comes from.
    pub(super) address: SocketAddr,
    /// Where it arrived.
    pub(super) local: SocketAddr,
    /// What TLS was set up with, if the gateway ended it.
    pub(super) tls: Option<Edge>,
    /// The public port that leads to the tunnel, where no host does.
    pub(super) port: Option<u16>,
}

impl Visitor {
    fn find(&self, hub: &Hub, host: &Host) -> Option<Arc<Tunnel<Link, Facts>>> {
        match self.port {
            Some(port) => hub.look_up(RouteKey::tcp_port(port)),
            None => hub.find(host),
        }
    }
}

/// A TLS session that ended here.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    /// The name that it was set up for.
    pub(super) name: Host,
    /// What is to be told to the agent.
    pub(super) facts: TlsFacts,
}

/// Answers one request: with what the tunnel's upstream answers, or with an envelope that says why not.
///
/// # Errors
/// A reset of the stream, for a request of HTTP/2 that is malformed (RFC 9113 §8.1.1).
pub(super) async fn answer(
    hub: Arc<Hub>,
    visitor: Visitor,
    request: Request<Incoming>,
) -> Result<Response<Answer>, h2::Error> {
    let id = RequestId::of_request(request.headers(), random::wide());
    let version = request.version();
    let style = style(request.headers());
    let gate = RequestGate::new();
    let admitted = match gate.admit(&request, visitor.tls.as_ref().map(|edge| &edge.name)) {
        Ok(admitted) => admitted,
        Err(error) => {
            let reaction = error.reaction(version);
            if reaction == Reaction::ResetStream {
                return Err(h2::Reason::PROTOCOL_ERROR.into());
            }
            let mut response = reply::refuse(Refusal::from(&error), &id, &style);
            if reaction == Reaction::AnswerAndClose && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return Ok(response);
        }
    };
    let own = visitor.port.is_none().then(|| own::answer(&hub, &visitor, &admitted.host, &request));
    if let Some(response) = own.flatten() {
        return Ok(response);
    }
    match forward(&hub, &visitor, &admitted, request, &id).await {
        Ok(response) => Ok(response),
        Err(refused) => {
            tracing::debug!(code = %refused.refusal.code(), request = %id, "refused a visitor");
            let mut response = reply::refuse(refused.refusal, &id, &style);
            response.headers_mut().extend(refused.field);
            Ok(response)
        }
    }
}

/// Answers what never became a request, and closes: the next one can't be found.
pub(super) fn refuse_octets(error: &ScreenError) -> Response<Answer> {
    let id = RequestId::of_request(&HeaderMap::new(), random::wide());
    tracing::debug!(%error, request = %id, "refused a visitor's octets");
    let mut response = reply::refuse(Refusal::from(error), &id, &style(&HeaderMap::new()));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn forward(
    hub: &Arc<Hub>,
    visitor: &Visitor,
    admitted: &Admitted,
    request: Request<Incoming>,
    id: &RequestId,
) -> Result<Response<Answer>, Refused> {
    let host = &admitted.host;
    if visitor.port.is_none() && hub.is_for_webhooks(host) {
        return Ok(visit::receive_webhook(hub, request).await?);
    }
    let tunnel = visitor.find(hub, host).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
    let (facts, is_tls) = (tunnel.facts(), visitor.tls.is_some());
    let (forward, mut request) =
        match visit::admit(hub, &tunnel, visitor.address.ip(), is_tls, request).await? {
            Admission::Forward(forward, request) => (forward, *request),
            Admission::Enter(entrance) => return Ok(reply::enter(&entrance)),
        };
    let protocol = (facts.protocol == Protocol::AUTO).then_some(Protocol::HTTP);
    let forwarded = Forwarded::new(visitor.address, host, visitor.tls.is_some(), visitor.local.port());
    let held = prepare_request(request.headers_mut(), &forwarded, |protocol| {
        protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
    });
    facts.policy.prepare_request(&forward, request.headers_mut());
    let upgrading = held.upgrade.is_some();
    let theirs = upgrading.then(|| hyper::upgrade::on(&mut request));
    let number = stick::take(request.headers_mut());
    let fresh = (failover::is_shared(&tunnel) && number.is_none()).then(|| stick::fresh(&tunnel));
    let mut dispatch = failover::by(Stick::by_number(number.or(fresh).unwrap_or_default()));
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let (mut original, mut request) = Original::keep(to_http1(request, host, id)?);
    let mut response = loop {
        let describe = |head| describe(head, visitor, host, visitor.port.or_else(|| hub.port_of(host)), id);
        let opened = hub.open(&mut dispatch, protocol, |hub| visitor.find(hub, host), describe);
        let (stream, work) = opened.await?;
        let agent = work.agent().generation();
        let ended = life::ended(Arc::clone(hub), &tunnel, *forward.pass());
        let stream = Leased::new(stream, ended, facts, &work, Traffic::Http);
        let lost = match send(stream, work, await_continue(request), &original, deadline).await {
            Ok(response) => break response,
            Err(lost) => lost,
        };
        let can_repeat = original.may_repeat(lost.loss)
            && await_another(hub, agent, |hub| visitor.find(hub, host), deadline).await;
        request = can_repeat.then(|| original.again(lost.loss)).flatten().ok_or(lost.refusal)?;
        tracing::debug!(request = %id, "a session was lost: the request is sent again");
    };
    let scope = CookieScope::OwnHost(host.domain().unwrap_or_default());
    prepare_response(&mut response, scope).map_err(|error| Refusal::from(&error))?;
    facts.policy.prepare_response(response.headers_mut());
    if let Some(cookie) = fresh.and_then(|number| stick::cookie(number, is_tls)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(theirs)) = (response.status(), theirs) {
        let ours = hyper::upgrade::on(&mut response);
        tokio::spawn(splice(theirs, ours));
    }
    Ok(reply::pass(response))
}

/// Sends `request`, a copy of `original`, on a stream of its own, and returns the head of the answer.
async fn send(
    stream: Leased<Stream>,
    work: Work,
    request: Request<Awaited<Borrowed>>,
    original: &Original,
    deadline: Instant,
) -> Result<Response<Guarded>, Unanswered> {
    let (mut sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Unanswered::of(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an exchange with an upstream failed");
        }
    });
    let mut answer = pin!(timeout_at(deadline, sender.send_request(request)));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        () = work.handle().forsaken.cancelled() => {
            if original.may_repeat(Loss::Session) {
                return Err(Unanswered::forsaken());
            }
            // The session may come to life again, and nothing else would bring the answer.
            answer.await
        }
    };
    let response = answer.map_err(|_| Refusal::from(Code::UPSTREAM_TIMEOUT))?;
    // The work counts as the agent's load until the visitor has the whole body.
    response
        .map(|response| response.map(|body| Guarded::new(body, work)))
        .map_err(|error| Unanswered::of(&error))
}

/// The request as the upstream gets it: HTTP/1.1 with an origin-form target, and a Host even if it came by `:authority`.
fn to_http1(mut request: Request<Sent>, host: &Host, id: &RequestId) -> Result<Request<Sent>, Refusal> {
    let authority = request.uri().authority().cloned();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path).map_err(|_| Refusal::internal())?;
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(header::HOST) {
        let name = authority.map_or_else(|| host.to_string(), |authority| authority.to_string());
        let value = HeaderValue::try_from(name).map_err(|_| Refusal::internal())?;
        request.headers_mut().insert(header::HOST, value);
    }
    let value = HeaderValue::try_from(id.to_string()).map_err(|_| Refusal::internal())?;
    request.headers_mut().insert(X_REQUEST_ID, value);
    Ok(request)
}

fn describe(
    head: StreamHeadBuilder,
    visitor: &Visitor,
    host: &Host,
    port: Option<u16>,
    id: &RequestId,
) -> StreamHeadBuilder {
    let head = head.visitor(visitor.address).local(visitor.local).host(host.to_string());
    let head = head.request_id(id.to_string()).port(port.unwrap_or_default());
    match &visitor.tls {
        Some(edge) => head.tls(edge.facts.clone()),
        None => head,
    }
}

/// Octets both ways after an upgrade, until both sides ended.
async fn splice(theirs: hyper::upgrade::OnUpgrade, ours: hyper::upgrade::OnUpgrade) {
    let (Ok(theirs), Ok(ours)) = tokio::join!(theirs, ours) else { return };
    let (mut theirs, mut ours) = (TokioIo::new(theirs), TokioIo::new(ours));
    if let Err(error) = tokio::io::copy_bidirectional(&mut theirs, &mut ours).await {
        tracing::debug!(%error, "an upgraded connection ended early");
    }
}

/// As the visitor likes it: JSON, problem+json, or plain text for a browser.
fn style(headers: &HeaderMap) -> Style {
    let accept = headers.get(header::ACCEPT).map_or(&b""[..], |accept| accept.as_bytes());
    Style::new().with_format(Format::for_visitor(accept))
}
