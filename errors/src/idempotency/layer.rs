use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::Answer;
use super::body::{Buffered, Reading};
use super::fingerprint::Fingerprint;
use super::key::{IdempotencyKey, Principal, Slot};
use super::store::{Begin, Store, Ticket};
use crate::code::Code;
use crate::format::{Format, Style};
use crate::refusal::Refusal;
use crate::request_body::check_request_length;
use crate::request_id::RequestId;

/// Puts idempotency keys in front of any service, as a tower layer.
///
/// ```text
/// request ─▶ your authorisation ─▶ this layer ─▶ your handlers
///            puts a Principal       asks the      run once
///            into the extensions    store         for each key
/// ```
///
/// A request with `POST`, `PUT`, `PATCH` or `DELETE` and an `Idempotency-Key` is held against the store; any other passes.
/// Without a [`Principal`] in its extensions such a request is refused with 401 before anything is looked up, so this
/// layer cannot stand in front of the authorisation by mistake. A [`RequestId`] in the extensions is used in refusals.
///
/// Bodies are read as a whole: a request's to compare it, a successful answer's to keep it. An answer that turns out too
/// large, or has trailers, goes out unharmed but not stored, with `X-Idempotent-Stored: false`.
///
/// A caller that goes away drops this layer's future, and with it the handler's. Where a handler must run to its end
/// once begun, spawn it inside; its key stays in flight until it is done or the lease is over.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use adit_errors::idempotency::{IdempotencyLayer, Limits, MemoryStore};
///
/// # let (since_epoch, random) = (|| Duration::from_secs(1_700_000_000), || 4_u128);
/// let store = Arc::new(MemoryStore::new(Limits::new()));
/// let layer = IdempotencyLayer::new(store, (since_epoch, random)).with_max_request_bytes(256 * 1024);
/// # drop(layer);
/// ```
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub struct IdempotencyLayer<S, E> {
    shared: Shared<S, E>,
}

impl<S: Store, E: Environment> IdempotencyLayer<S, E> {
    /// A layer over this store, which takes the time and random numbers from `environment`.
    pub const fn new(store: Arc<S>, environment: E) -> Self {
        let shared = Shared {
            store,
            environment,
            style: Style::new(),
            max_request_bytes: 1 << 20,
            max_answer_bytes: 1 << 20,
            key_required: false,
        };
        Self { shared }
    }

    /// Sets the longest request body, in bytes; 1 MiB by default. A longer one is refused with 413. Every request that
    /// has a key may take that much memory while it arrives.
    #[must_use]
    pub const fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.shared.max_request_bytes = bytes;
        self
    }

    /// Sets the largest answer that is stored, in bytes, as [`Answer::size_bytes`] counts; 1 MiB by default.
    #[must_use]
    pub const fn with_max_answer_bytes(mut self, bytes: usize) -> Self {
        self.shared.max_answer_bytes = bytes;
        self
    }

    /// Refuses `POST` and `PATCH` without a key (400); by default they pass.
    #[must_use]
    pub const fn with_key_required(mut self) -> Self {
        self.shared.key_required = true;
        self
    }

    /// Sets the style of refusals, but for the format, which follows the request's `Accept` field.
    #[must_use]
    pub fn with_style(mut self, style: Style) -> Self {
        self.shared.style = style;
        self
    }
}

impl<S, E: Clone> Clone for IdempotencyLayer<S, E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<I, S, E: Clone> Layer<I> for IdempotencyLayer<S, E> {
    type Service = Idempotency<I, S, E>;

    fn layer(&self, inner: I) -> Self::Service {
        Idempotency { inner, shared: self.shared.clone() }
    }
}

/// The time and the dice of an [`IdempotencyLayer`]: a pair of closures will do.
pub trait Environment: Clone + Send + Sync + 'static {
    /// The time since a fixed moment, the same for all who share the store.
    fn now(&self) -> Duration;

    /// 128 random bits, for the id of a refused request that has none.
    fn random(&self) -> u128;
}

impl<N, R> Environment for (N, R)
where
    N: Fn() -> Duration + Clone + Send + Sync + 'static,
    R: Fn() -> u128 + Clone + Send + Sync + 'static,
{
    fn now(&self) -> Duration {
        self.0()
    }

    fn random(&self) -> u128 {
        self.1()
    }
}

/// A service behind an [`IdempotencyLayer`].
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub struct Idempotency<I, S, E> {
    inner: I,
    shared: Shared<S, E>,
}

impl<I: Clone, S, E: Clone> Clone for Idempotency<I, S, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<I, S, E, Req, Res> Service<Request<Req>> for Idempotency<I, S, E>
where
    I: Service<Request<Buffered<Req>>, Response = Response<Res>> + Clone + Send + 'static,
    I::Future: Send,
    I::Error: Send,
    S: Store + 'static,
    E: Environment,
    Req: Body<Data = Bytes> + Send + Unpin + 'static,
    Req::Error: Send,
    Res: Body<Data = Bytes> + Send + Unpin + 'static,
    Res::Error: Send,
{
    type Response = Response<Buffered<Res>>;
    type Error = I::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, I::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        // The clone that was found ready makes the call; the fresh one waits for its own turn.
        let fresh = self.clone();
        let ready = std::mem::replace(self, fresh);
        Box::pin(ready.answer(request))
    }
}

impl<I, S, E> Idempotency<I, S, E>
where
    S: Store,
    E: Environment,
{
    async fn answer<Req, Res>(mut self, request: Request<Req>) -> Result<Response<Buffered<Res>>, I::Error>
    where
        I: Service<Request<Buffered<Req>>, Response = Response<Res>>,
        Req: Body<Data = Bytes> + Unpin,
        Res: Body<Data = Bytes> + Unpin,
    {
        let refused = Refused::new(&request, &self.shared);
        let key = match self.shared.key_of(&request) {
            Ok(Some(key)) => key,
            Ok(None) => {
                let response = self.inner.call(request.map(Buffered::untouched)).await?;
                return Ok(response.map(Buffered::untouched));
            }
            Err(refusal) => return Ok(refused.answer(refusal)),
        };
        // No lookup before the credential was checked: whoever lost it must not learn that there is an answer.
        let Some(principal) = request.extensions().get::<Principal>().cloned() else {
            return Ok(refused.answer(Refusal::from(Code::MISSING_BEARER)));
        };
        let (request, fingerprint) = match read_request(request, self.shared.max_request_bytes).await {
            Ok(read) => read,
            Err(refusal) => return Ok(refused.answer(refusal)),
        };
        let slot = Slot::new(principal, key);
        let begin = match self.shared.store.begin(self.shared.environment.now(), &slot, &fingerprint).await {
            Ok(begin) => begin,
            Err(error) => return Ok(refused.answer(error.into())),
        };
        match begin {
            Begin::Fresh { ticket } => self.carry_out(request, ticket).await,
            Begin::Replay { answer } => Ok(replay(&answer)),
            other @ (Begin::InFlight { .. } | Begin::Conflict {}) => {
                Ok(refused.answer(other.refusal().unwrap_or_else(Refusal::internal)))
            }
        }
    }

    async fn carry_out<Req, Res>(
        mut self,
        request: Request<Buffered<Req>>,
        ticket: Ticket,
    ) -> Result<Response<Buffered<Res>>, I::Error>
    where
        I: Service<Request<Buffered<Req>>, Response = Response<Res>>,
        Req: Body<Data = Bytes> + Unpin,
        Res: Body<Data = Bytes> + Unpin,
    {
        let response = match self.inner.call(request).await {
            Ok(response) => response,
            Err(error) => {
                self.shared.abandon(ticket).await;
                return Err(error);
            }
        };
        if !is_success(response.status()) {
            self.shared.abandon(ticket).await;
            return Ok(response.map(Buffered::untouched));
        }
        let (mut parts, body) = response.into_parts();
        let (body, answer) = match Buffered::read(body, self.shared.max_answer_bytes).await {
            Reading::Whole { bytes } => {
                let fields = parts.headers.iter();
                let fields =
                    fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
                let max_bytes = self.shared.max_answer_bytes;
                let answer = Answer::new(parts.status.as_u16(), fields, bytes.to_vec(), max_bytes).ok();
                (Buffered::whole(bytes), answer)
            }
            Reading::Partial { body } => (body, None),
            Reading::Failed { bytes, error } => (Buffered::failing(bytes, error), None),
        };
        if !self.shared.keep(ticket, answer).await {
            parts.headers.insert(STORED, HeaderValue::from_static("false"));
        }
        Ok(Response::from_parts(parts, body))
    }
}

#[derive(Debug)]
struct Shared<S, E> {
    store: Arc<S>,
    environment: E,
    style: Style,
    max_request_bytes: usize,
    max_answer_bytes: usize,
    key_required: bool,
}

impl<S: Store, E: Environment> Shared<S, E> {
    /// Whether the answer was stored.
    async fn keep(&self, ticket: Ticket, answer: Option<Answer>) -> bool {
        let Some(answer) = answer else {
            self.abandon(ticket).await;
            return false;
        };
        let now = self.environment.now();
        matches!(self.store.complete(now, ticket, answer).await, Ok(Ok(())))
    }

    /// A store that cannot be reached frees the slot itself, when the lease is over.
    async fn abandon(&self, ticket: Ticket) {
        let _ = self.store.abandon(self.environment.now(), ticket).await;
    }

    /// The key to hold the request against; `None` if it passes.
    fn key_of<B>(&self, request: &Request<B>) -> Result<Option<IdempotencyKey>, Refusal> {
        if ![Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(request.method()) {
            return Ok(None);
        }
        let values = request.headers().get_all(KEY).iter().map(HeaderValue::as_bytes);
        let key = IdempotencyKey::from_fields(values)?;
        let required = self.key_required && [Method::POST, Method::PATCH].contains(request.method());
        if key.is_none() && required {
            return Err(Refusal::from(Code::IDEMPOTENCY_KEY_REQUIRED));
        }
        Ok(key)
    }
}

impl<S, E: Clone> Clone for Shared<S, E> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            environment: self.environment.clone(),
            style: self.style.clone(),
            ..*self
        }
    }
}

/// What is needed to refuse a request after it has been taken apart.
struct Refused {
    id: RequestId,
    style: Style,
}

impl Refused {
    fn new<B, S>(request: &Request<B>, shared: &Shared<S, impl Environment>) -> Self {
        let known = request.extensions().get::<RequestId>().cloned();
        let id =
            known.unwrap_or_else(|| RequestId::of_request(request.headers(), shared.environment.random()));
        let accept = request.headers().get(http::header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        Self { id, style: shared.style.clone().with_format(Format::for_api(accept)) }
    }

    fn answer<B: Body<Data = Bytes> + Unpin>(self, refusal: Refusal) -> Response<Buffered<B>> {
        let response: Response<Vec<u8>> = refusal.with_request_id(self.id).to_response(&self.style);
        response.map(Buffered::whole)
    }
}

async fn read_request<B>(
    request: Request<B>,
    limit: usize,
) -> Result<(Request<Buffered<B>>, Fingerprint), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    check_request_length(body.size_hint().lower(), limit)?;
    let bytes = match Buffered::read(body, limit).await {
        Reading::Whole { bytes } => bytes,
        Reading::Partial { .. } => return Err(too_large(limit)),
        Reading::Failed { .. } => {
            return Err(Refusal::new(Code::VALIDATION_FAILED, "the body did not arrive whole"));
        }
    };
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let fingerprint = Fingerprint::of(parts.method.as_str(), path, &bytes);
    Ok((Request::from_parts(parts, Buffered::whole(bytes)), fingerprint))
}

fn replay<B: Body<Data = Bytes> + Unpin>(answer: &Answer) -> Response<Buffered<B>> {
    let mut response = Response::new(Buffered::whole(Bytes::copy_from_slice(answer.body())));
    *response.status_mut() = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::OK);
    for (name, value) in answer.fields() {
        // They came out of a header map of the same kind, so both are good.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
    response
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Code::PAYLOAD_TOO_LARGE, format!("the body may have at most {limit} bytes and no trailers"))
}

fn is_success(status: StatusCode) -> bool {
    (200..400).contains(&status.as_u16())
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAY: HeaderName = HeaderName::from_static("x-idempotent-replay");
const STORED: HeaderName = HeaderName::from_static("x-idempotent-stored");
