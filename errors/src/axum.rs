use axum_core::response::{IntoResponse, Response};

use crate::envelope::Envelope;
use crate::format::Style;

/// The answer in the default [`Style`]: JSON. For another one, return [`Envelope::to_response`].
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl IntoResponse for Envelope {
    fn into_response(self) -> Response {
        self.to_response(&Style::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Refusal, RequestId};

    #[test]
    fn a_handler_may_return_an_envelope() {
        let id = RequestId::from_random(1);
        let answer: Result<&str, Envelope> = Err(Refusal::from(Code::TTL_TOO_LONG).with_request_id(id));
        let response = answer.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
