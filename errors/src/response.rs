use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};

use crate::envelope::Envelope;
use crate::format::Style;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request_id::RequestId;

impl RequestId {
    /// The id of a request with these header fields; see [`echo_or_random`](Self::echo_or_random). Of several
    /// `X-Request-Id` fields none is taken: nobody could say which one was meant.
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn of_request(fields: &HeaderMap, random: u128) -> Self {
        Self::echo_or_random(single(fields, &X_REQUEST_ID), random)
    }
}

impl Refusal {
    /// [`status`](Self::status) as a type of the `http` crate.
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl Envelope {
    /// The whole answer, with the fields of [`fields`](Self::fields), over any body that can be made from bytes.
    ///
    /// ```
    /// use adit_errors::{Code, Format, Refusal, RequestId, Style};
    ///
    /// let id = RequestId::from_random(7);
    /// let envelope = Refusal::from(Code::TUNNEL_OFFLINE).with_request_id(id);
    /// let style = Style::new().with_format(Format::for_api(b"application/problem+json"));
    /// let response: http::Response<Vec<u8>> = envelope.to_response(&style);
    /// assert_eq!(response.status(), 502);
    /// assert_eq!(response.headers()["content-type"], "application/problem+json");
    /// assert!(response.headers()["proxy-status"].to_str().unwrap().contains("adit-source=agent"));
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn to_response<B: From<Vec<u8>>>(&self, style: &Style) -> Response<B> {
        let mut response = Response::new(B::from(self.to_body(style)));
        *response.status_mut() = self.refusal().status_code();
        for (name, value) in self.fields(style) {
            // Every value is made of bytes that may stand in a field; were one not, it would be left out.
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

impl Reply {
    /// Reads an answer with all that its header fields add: id, hint and source. Several fields of one name count as
    /// none, except for `Proxy-Status`, where the last one, the nearest to us, counts.
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn from_http(status: StatusCode, fields: &HeaderMap, body: &[u8]) -> Self {
        let mut reply = Self::parse(status.as_u16(), body);
        if let Some(value) = single(fields, &X_REQUEST_ID) {
            reply = reply.with_request_id_field(value);
        }
        if let Some(value) = single(fields, &RETRY_AFTER) {
            reply = reply.with_retry_after_field(value);
        }
        if let Some(value) = fields.get_all(&PROXY_STATUS).iter().next_back() {
            reply = reply.with_proxy_status_field(value.as_bytes());
        }
        reply
    }
}

fn single<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::registry::REGISTRY;

    #[test]
    fn x12_every_response_is_safe_and_is_read_back_whole() {
        for format in [Format::Json, Format::Problem] {
            let style = Style::new().with_format(format);
            for entry in REGISTRY {
                let refusal = Refusal::from(entry.code().clone()).with_upstream_answered(true);
                let envelope = refusal.with_request_id(RequestId::from_random(9));
                let response: Response<Vec<u8>> = envelope.to_response(&style);
                let (parts, body) = response.into_parts();
                assert_eq!(parts.headers["content-type"], format.content_type());
                assert_eq!(parts.headers["x-content-type-options"], "nosniff");
                assert_eq!(parts.headers["cache-control"], "no-store");
                let reply = Reply::from_http(parts.status, &parts.headers, &body);
                assert_eq!(reply.refusal(), envelope.refusal());
                assert_eq!(reply.request_id(), Some(envelope.request_id()));
            }
        }
    }

    #[test]
    fn the_source_travels_in_the_field_and_not_in_the_body() {
        let refusal = Refusal::from(crate::Code::UPSTREAM_INVALID_RESPONSE);
        let response: Response<Vec<u8>> =
            refusal.with_request_id(RequestId::from_random(9)).to_response(&Style::new());
        let value = response.headers()["proxy-status"].to_str().unwrap();
        assert_eq!(value, "adit; error=http_protocol_error; adit-source=upstream; adit-upstream-answered=?1");
        let body = String::from_utf8(response.into_body()).unwrap();
        assert!(!body.contains("source") && !body.contains("answered\""));
    }

    #[test]
    fn x07_doubled_request_ids_are_replaced() {
        let mut fields = HeaderMap::new();
        fields.append("x-request-id", HeaderValue::from_static("a"));
        assert_eq!(RequestId::of_request(&fields, 5).as_str(), "a");
        fields.append("x-request-id", HeaderValue::from_static("b"));
        assert_eq!(RequestId::of_request(&fields, 5), RequestId::from_random(5));
    }

    #[test]
    fn fields_help_where_the_body_says_nothing() {
        let mut fields = HeaderMap::new();
        fields.insert("retry-after", HeaderValue::from_static("3"));
        fields.insert("x-request-id", HeaderValue::from_static("r-1"));
        let reply = Reply::from_http(StatusCode::SERVICE_UNAVAILABLE, &fields, b"<html>");
        assert_eq!(reply.refusal().retry_after().unwrap().as_millis(), 3000);
        assert_eq!(reply.request_id().unwrap().as_str(), "r-1");
    }
}
