//! What the gateway answers itself, whatever tunnels there are: certificate challenges, and the revocation list.

use super::hub::Hub;
use super::proxy::Visitor;
use super::reply::Answer;
use adit_naming::{Destination, Host};
use adit_tls_modes::ServerName;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use std::time::SystemTime;

/// Where the list is on the zone's own host.
pub(super) const REVOCATIONS_PATH: &str = "/authority.crl";

/// Where an authority looks for the answer to HTTP-01 (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The answer, if it is for the gateway to give.
pub(super) fn answer<B>(
    hub: &Hub,
    visitor: &Visitor,
    host: &Host,
    request: &Request<B>,
) -> Option<Response<Answer>> {
    let path = request.uri().path();
    let destination = hub.zones.classify(host);
    if path == REVOCATIONS_PATH && matches!(destination, Destination::Zone { .. }) {
        return Some(revocations(hub, request.method()));
    }
    if !path.starts_with(CHALLENGES) || visitor.tls.is_some() {
        return None;
    }
    let name = host.domain().and_then(|domain| domain.parse::<ServerName>().ok())?;
    match hub.board.http_answer(SystemTime::now(), &name, path) {
        Some(answer) if *request.method() == Method::GET => {
            Some(whole(StatusCode::OK, "application/octet-stream", Bytes::from(answer)))
        }
        // As with acme-tls/1 (T-49): no tenant proves a name that is the gateway's to give.
        _ if !matches!(destination, Destination::Custom { .. }) => {
            Some(whole(StatusCode::NOT_FOUND, "text/plain", Bytes::from_static(b"no such challenge\n")))
        }
        _ => None,
    }
}

fn revocations(hub: &Hub, method: &Method) -> Response<Answer> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return whole(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::from_static(b"GET it\n"));
    }
    match hub.revocations.current() {
        Ok(crl) => whole(StatusCode::OK, "application/pkix-crl", crl),
        Err(error) => {
            tracing::error!(%error, "the revocation list can't be signed");
            whole(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new())
        }
    }
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Either::Right(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
