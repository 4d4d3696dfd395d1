use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};

/// How requests reach a certificate authority: the caller's HTTP client, with the crypto provider, the trusted roots,
/// the proxies and the time limits that the caller wants.
///
/// All addresses come from the directory of the authority and are `https` with public ones (RFC 8555 §6.1). Follow no
/// redirect to elsewhere, set a time limit for each exchange, and read no body of more than 256 KiB.
pub trait AcmeTransport: Send + Sync + 'static {
    /// Sends one request and collects the answer, whatever its status.
    fn send(&self, request: Request<Bytes>) -> AcmeExchange;
}

/// What [`AcmeTransport::send`] gives: independent of any runtime.
pub type AcmeExchange =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, Box<dyn Error + Send + Sync>>> + Send>>;

/// The transport as instant-acme takes it, for one order, so that what the last answer said beside its body is known.
pub(super) struct Exchanges {
    transport: Arc<dyn AcmeTransport>,
    last: Arc<Mutex<LastAnswer>>,
}

/// What the body of an answer doesn't tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastAnswer {
    pub(super) status: Option<StatusCode>,
    retry_after: Option<RetryAfter>,
}

#[derive(Clone, Copy, Debug)]
enum RetryAfter {
    Wait(Duration),
    At(SystemTime),
}

impl Exchanges {
    pub(super) fn new(transport: Arc<dyn AcmeTransport>) -> (Box<Self>, Arc<Mutex<LastAnswer>>) {
        let last = Arc::default();
        (Box::new(Self { transport, last: Arc::clone(&last) }), last)
    }
}

impl LastAnswer {
    /// How long the authority asked to wait, at most a week.
    pub(super) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let wait = match self.retry_after? {
            RetryAfter::Wait(wait) => wait,
            RetryAfter::At(moment) => moment.duration_since(now).unwrap_or_default(),
        };
        Some(wait.min(MAX_RETRY_AFTER))
    }

    fn of(response: &Response<Bytes>) -> Self {
        let field = response.headers().get(header::RETRY_AFTER).and_then(|field| field.to_str().ok());
        Self { status: Some(response.status()), retry_after: field.and_then(read_retry_after) }
    }
}

impl HttpClient for Exchanges {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (transport, last) = (Arc::clone(&self.transport), Arc::clone(&self.last));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let response =
                transport.send(Request::from_parts(parts, body)).await.map_err(instant_acme::Error::Other)?;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = LastAnswer::of(&response);
            if response.body().len() > MAX_ANSWER_BYTES {
                return Err(instant_acme::Error::Str("an answer within bounds"));
            }
            Ok(response.map(Full::new).into())
        })
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn read_retry_after(field: &str) -> Option<RetryAfter> {
    if let Ok(seconds) = field.trim().parse() {
        return Some(RetryAfter::Wait(Duration::from_secs(seconds)));
    }
    httpdate::parse_http_date(field).ok().map(RetryAfter::At)
}

/// A chain of ten certificates has under 20,000.
const MAX_ANSWER_BYTES: usize = 262_144;
/// Authorities count in hours or, for the same set of names, in one week.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_told_in_seconds_or_by_a_date_and_is_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |field: &str| {
            let response = Response::builder().header("retry-after", field).body(Bytes::new()).unwrap();
            LastAnswer::of(&response).retry_after(now)
        };
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(wait("30"), seconds(30));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0));
        assert_eq!(wait("18446744073709551615"), seconds(604_800));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }
}
