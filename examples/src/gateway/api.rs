//! The owner's API: tunnels, certificates, shares, tokens and webhook receivers, as JSON over HTTP.
//!
//! Every request but `/health` and `/ready` needs `Authorization: Bearer {admin token}`; every one that changes something
//! may have an `Idempotency-Key`. Refusals are envelopes with `error` and `next_action`.

use super::receivers::Receivers;
use super::registrar::Registrar;
use super::signing::SigningOffice;
use super::tokens::Tokens;
use super::visit;
use crate::random;
use adit_errors::idempotency::{Buffered, IdempotencyLayer, Limits, MemoryStore, Principal};
use adit_errors::{Code, Format, Refusal, RequestId, Style, read_request};
use adit_router::{Command, Role, SecretDigest};
use adit_wire_proto::credential::{Credential, CredentialId};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tower_layer::Layer;
use tower_service::Service;

/// The largest body of a request, in octets.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The most events that one poll gives.
const MAX_EVENTS: usize = 200;

/// How long a rotated secret stays good.
const ROTATION_OVERLAP: Duration = Duration::from_secs(3600);

pub(super) type Reply = Response<Buffered<Full<Bytes>>>;

type Clock = fn() -> Duration;
type Dice = fn() -> u128;

/// What the API works on.
pub(super) struct Api {
    pub(super) registrar: Arc<Registrar>,
    pub(super) office: Arc<SigningOffice>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) receivers: Arc<Receivers>,
    /// Of the owner's token.
    pub(super) admin: SecretDigest,
    answers: IdempotencyLayer<MemoryStore, (Clock, Dice)>,
}

impl Api {
    pub(super) fn new(
        registrar: Arc<Registrar>,
        office: Arc<SigningOffice>,
        tokens: Arc<Tokens>,
        receivers: Arc<Receivers>,
        admin: SecretDigest,
    ) -> Self {
        let clock: Clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let dice: Dice = random::wide;
        let store = Arc::new(MemoryStore::new(Limits::new()));
        let answers = IdempotencyLayer::new(store, (clock, dice));
        let answers = answers.with_max_request_bytes(MAX_BODY_BYTES);
        Self { registrar, office, tokens, receivers, admin, answers }
    }

    /// Answers one request. Who asks is checked before anything else is looked at.
    pub(super) async fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Reply {
        let id = RequestId::of_request(request.headers(), random::wide());
        let style = style(request.headers());
        let caller = match self.caller(request.headers()) {
            Ok(caller) => caller,
            Err(refusal) => return refuse(refusal, &id, &style).map(Buffered::untouched),
        };
        if let Ok(principal) = Principal::new(caller.to_string()) {
            request.extensions_mut().insert(principal);
        }
        request.extensions_mut().insert(Asked { caller, id });
        let Ok(reply) = self.answers.layer(Desk(Arc::clone(self))).call(request).await;
        reply
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let field = fields.next().ok_or_else(|| Refusal::from(Code::MISSING_BEARER))?;
        let failed = || Refusal::from(Code::AUTH_FAILED);
        let token = field.to_str().ok().filter(|_| fields.next().is_none());
        let token = token.and_then(|field| field.strip_prefix("Bearer ")).ok_or_else(failed)?;
        if SecretDigest::of(token.as_bytes()) == self.admin {
            return Ok(Caller::Owner);
        }
        let credential: Credential = token.parse().map_err(|_| failed())?;
        if self.tokens.is_good(&credential) { Ok(Caller::Key(credential.id())) } else { Err(failed()) }
    }

    fn act(&self, caller: Caller, call: &Call<'_>) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let path = segments(call.path);
        // What a credential may not do is said where it is decided.
        if let (&Method::PUT, ["tokens", id, "budget"]) = (call.method, path.as_slice()) {
            let budget: BudgetRequest = call.body()?;
            return shown(self.tokens.set_budget(caller.role(), id, budget.monthly_budget_usd_cents)?);
        }
        match (caller, path.as_slice()) {
            (Caller::Owner, _) => {}
            (Caller::Key(key), ["tokens", rest @ ..]) if self.tokens.is_master(key) => {
                return self.about_minted(key, call, rest);
            }
            (Caller::Key(_), _) => return Err(only_an_owner()),
        }
        match path.as_slice() {
            ["tunnels", _, "certificates" | "revoke-certificates"] | ["certificates", ..] => {
                self.about_certificates(call, &path)
            }
            ["tunnels", rest @ ..] => self.tunnels(call, rest),
            ["activity"] if call.method == Method::GET => {
                let (since, limit) = call.page()?;
                shown(self.registrar.journal().entries(since, limit))
            }
            ["tokens", rest @ ..] => self.about_tokens(call, rest),
            ["webhook-receivers", rest @ ..] => self.about_receivers(call, rest),
            _ => Err(Refusal::from(Code::NOT_FOUND)),
        }
    }

    fn tunnels(&self, call: &Call<'_>, path: &[&str]) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let registrar = &self.registrar;
        match (call.method.as_str(), path) {
            ("POST", []) => created(registrar.create(&call.body()?)?),
            ("GET", []) => shown(List { tunnels: registrar.list() }),
            ("GET", [id]) => shown(registrar.get(id)?),
            ("PATCH", [id]) => shown(registrar.update(id, &call.body()?)?),
            ("GET", [id, "activity"]) => shown(registrar.activity(id)?),
            ("DELETE", [id]) => shown(registrar.command(id, Command::Delete)?),
            ("DELETE", [id, "force"]) => shown(registrar.command(id, Command::ForceDelete)?),
            ("POST", [id, "pause"]) => shown(registrar.command(id, Command::Pause)?),
            ("POST", [id, "resume"]) => shown(registrar.command(id, Command::Resume)?),
            ("POST", [id, "restore"]) => shown(registrar.command(id, Command::Restore)?),
            ("PUT", [id, "policy"]) => shown(registrar.set_policy(id, call.body()?)?),
            ("PUT", [id, "reach"]) => shown(registrar.set_reach(id, call.body()?)?),
            ("POST", [id, "rotate-token"]) => shown(registrar.rotate_token(id)?),
            ("POST", [id, "shares"]) => created(registrar.share(id, &call.body()?)?),
            ("GET", [id, "shares"]) => shown(registrar.shares(id)?),
            ("DELETE", [id, "shares", share]) => shown(registrar.revoke_share(id, share)?),
            _ => Err(Refusal::from(Code::NOT_FOUND)),
        }
    }

    /// Signs for a tunnel's agent: unlike the rest it may have to wait for an authority.
    async fn sign(
        &self,
        role: Role,
        path: &str,
        body: &[u8],
    ) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let ["tunnels", id, "sign-csr"] = segments(path)[..] else {
            return Err(Refusal::from(Code::NOT_FOUND));
        };
        if role != Role::Owner {
            return Err(only_an_owner());
        }
        created(self.office.sign_for_owner(id, &read_request(body, MAX_BODY_BYTES)?).await?)
    }

    fn about_certificates(
        &self,
        call: &Call<'_>,
        path: &[&str],
    ) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let office = &self.office;
        match (call.method.as_str(), path) {
            ("GET", ["tunnels", id, "certificates"]) => shown(office.list(id)?),
            ("POST", ["tunnels", id, "revoke-certificates"]) => {
                shown(office.revoke_all(id, &call.body_if_any()?)?)
            }
            ("POST", ["certificates", serial, "revoke"]) => {
                shown(office.revoke(serial, &call.body_if_any()?)?)
            }
            _ => Err(Refusal::from(Code::NOT_FOUND)),
        }
    }

    fn about_tokens(
        &self,
        call: &Call<'_>,
        path: &[&str],
    ) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let tokens = &self.tokens;
        match (call.method.as_str(), path) {
            ("POST", []) => created(TokenShown::of(tokens.mint(None, call.body()?)?)),
            ("GET", []) => shown(tokens.list(None)),
            ("POST", [id, "rotate"]) => shown(TokenShown::of(tokens.rotate(id, ROTATION_OVERLAP)?)),
            ("DELETE", [id]) => shown(tokens.revoke(None, id)?),
            _ => Err(Refusal::from(Code::NOT_FOUND)),
        }
    }

    /// What a master key may do about the keys that it minted.
    fn about_minted(
        &self,
        by: CredentialId,
        call: &Call<'_>,
        path: &[&str],
    ) -> Result<(StatusCode, serde_json::Value), Refusal> {
        match (call.method.as_str(), path) {
            ("POST", []) => created(TokenShown::of(self.tokens.mint(Some(by), call.body()?)?)),
            ("GET", []) => shown(self.tokens.list(Some(by))),
            ("DELETE", [id]) => shown(self.tokens.revoke(Some(by), id)?),
            _ => Err(only_an_owner()),
        }
    }

    fn about_receivers(
        &self,
        call: &Call<'_>,
        path: &[&str],
    ) -> Result<(StatusCode, serde_json::Value), Refusal> {
        let receivers = &self.receivers;
        match (call.method.as_str(), path) {
            ("POST", []) => created(receivers.create(call.body()?)?),
            ("GET", []) => shown(receivers.list()),
            ("DELETE", [id]) => shown(receivers.delete(id)?),
            ("GET", [id, "events"]) => {
                let (since, limit) = call.page()?;
                shown(receivers.events(id, since, limit)?)
            }
            _ => Err(Refusal::from(Code::NOT_FOUND)),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy)]
enum Caller {
    Owner,
    Key(CredentialId),
}

impl Caller {
    const fn role(self) -> Role {
        match self {
            Self::Owner => Role::Owner,
            Self::Key(_) => Role::Agent,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Key(id) => write!(f, "key {:016x}", id.nonce()),
        }
    }
}

/// Who asks, and under what name.
#[derive(Clone)]
struct Asked {
    caller: Caller,
    id: RequestId,
}

/// Carries out a request whose sender is known.
#[derive(Clone)]
struct Desk(Arc<Api>);

impl Service<Request<Buffered<Incoming>>> for Desk {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered<Incoming>>) -> Self::Future {
        let api = Arc::clone(&self.0);
        Box::pin(async move { Ok(carry_out(api, request).await) })
    }
}

async fn carry_out(api: Arc<Api>, request: Request<Buffered<Incoming>>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Some(Asked { caller, id }) = parts.extensions.get::<Asked>().cloned() else {
        return refuse(Refusal::internal(), &RequestId::from_random(random::wide()), &Style::new());
    };
    let style = style(&parts.headers);
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let outcome = match visit::whole(body, MAX_BODY_BYTES).await {
        Ok(body) if is_signing(&parts) => api.sign(caller.role(), &path, &body).await,
        Ok(body) => {
            let api = Arc::clone(&api);
            let act = move || {
                let (method, path) = (&parts.method, parts.uri.path());
                let query = parts.uri.query().unwrap_or_default();
                let done = api.act(caller, &Call { method, path, query, body })?;
                api.registrar.save()?;
                Ok(done)
            };
            // Some of it waits for a disk.
            tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| Err(Refusal::internal()))
        }
        Err(refusal) => Err(refusal),
    };
    if outcome.is_ok() && method != Method::GET {
        api.registrar.journal().note_request(
            &caller.to_string(),
            &method,
            &format!("/{}", segments(&path).join("/")),
            &id,
        );
    }
    match outcome {
        Ok((status, value)) => answer(status, &value, &id),
        Err(refusal) => refuse(refusal, &id, &style),
    }
}

/// Whether it asks for a signature, and so for patience.
fn is_signing(parts: &Parts) -> bool {
    parts.method == Method::POST && matches!(segments(parts.uri.path())[..], ["tunnels", _, "sign-csr"])
}

fn segments(path: &str) -> Vec<&str> {
    path.trim_matches('/').split('/').collect()
}

fn only_an_owner() -> Refusal {
    Refusal::new(Code::FORBIDDEN, "only an owner may do this")
}

/// One request, taken apart.
struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    body: Bytes,
}

impl Call<'_> {
    fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        read_request(&self.body, MAX_BODY_BYTES)
    }

    /// What no body leaves open has its default.
    fn body_if_any<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() { Ok(T::default()) } else { self.body() }
    }

    /// After which event the page begins, and how many it has at most.
    fn page(&self) -> Result<(u64, usize), Refusal> {
        let (since, limit) = (self.number("since")?.unwrap_or(0), self.number("limit")?.unwrap_or(50));
        Ok((since, usize::try_from(limit).unwrap_or(MAX_EVENTS).min(MAX_EVENTS)))
    }

    /// A number in the query.
    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.parse()).next();
        let invalid = |_| Refusal::new(Code::VALIDATION_FAILED, "since and limit are whole numbers");
        value.transpose().map_err(invalid)
    }
}

#[derive(Serialize)]
struct List<T> {
    tunnels: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenShown<T> {
    #[serde(flatten)]
    token: T,
    /// Shown this once.
    api_key: String,
}

impl<T> TokenShown<T> {
    fn of((token, credential): (T, Credential)) -> Self {
        Self { token, api_key: credential.reveal().to_string() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BudgetRequest {
    /// Has to be there: nobody lifts a cap by leaving it out.
    #[serde(deserialize_with = "Option::deserialize")]
    monthly_budget_usd_cents: Option<u64>,
}

fn shown(value: impl Serialize) -> Result<(StatusCode, serde_json::Value), Refusal> {
    let value = serde_json::to_value(value).map_err(|_| Refusal::internal())?;
    Ok((StatusCode::OK, value))
}

fn created(value: impl Serialize) -> Result<(StatusCode, serde_json::Value), Refusal> {
    shown(value).map(|(_, value)| (StatusCode::CREATED, value))
}

fn answer(status: StatusCode, value: &serde_json::Value, id: &RequestId) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert("x-request-id", id);
    }
    response
}

fn refuse(refusal: Refusal, id: &RequestId, style: &Style) -> Response<Full<Bytes>> {
    tracing::debug!(code = %refusal.code(), request = %id, "refused an owner's request");
    refusal.with_request_id(id.clone()).to_response(style)
}

fn style(headers: &HeaderMap) -> Style {
    let accept = headers.get(header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
    Style::new().with_format(Format::for_api(accept))
}
