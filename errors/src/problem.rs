use serde::ser::SerializeMap;

use crate::envelope::Envelope;

/// An envelope as `application/problem+json` (RFC 9457).
///
/// The envelope's fields are extension members under their own names; with them travel the source of the failure and
/// whether the upstream answered, which the default body does not show.
pub(crate) struct Problem<'a> {
    envelope: &'a Envelope,
    base: Option<&'a str>,
}

impl<'a> Problem<'a> {
    pub(crate) const fn new(envelope: &'a Envelope, base: Option<&'a str>) -> Self {
        Self { envelope, base }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers into memory: there is nothing in it that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `about:blank` says that the problem is no more than its status (§4.2.1).
    fn problem_type(&self) -> String {
        match self.base {
            Some(base) => format!("{base}{}", self.envelope.code()),
            None => "about:blank".to_owned(),
        }
    }

    /// One sentence for all problems of the type (§3.1.3); with `about:blank`, the status' own phrase.
    fn title(&self) -> &'static str {
        match self.envelope.code().entry() {
            Some(entry) if self.base.is_some() => entry.summary(),
            Some(_) | None => phrase(self.envelope.status()),
        }
    }

    /// A URI for this occurrence (§3.1.5): ids that are UUIDs have one.
    fn instance(&self) -> Option<String> {
        let id = self.envelope.request_id().as_str();
        is_uuid(id).then(|| format!("urn:uuid:{id}"))
    }
}

impl serde::Serialize for Problem<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let envelope = self.envelope;
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", &self.problem_type())?;
        members.serialize_entry("title", self.title())?;
        members.serialize_entry("status", &envelope.status())?;
        members.serialize_entry("detail", envelope.message())?;
        if let Some(instance) = self.instance() {
            members.serialize_entry("instance", &instance)?;
        }
        members.serialize_entry("error", envelope.code())?;
        members.serialize_entry("message", envelope.message())?;
        members.serialize_entry("next_action", envelope.next_action())?;
        members.serialize_entry("request_id", envelope.request_id())?;
        if let Some(after) = envelope.retry_after() {
            members.serialize_entry("retry_after_ms", &after)?;
        }
        members.serialize_entry("source", envelope.source().as_str())?;
        members.serialize_entry("upstream_answered", &envelope.upstream_answered())?;
        members.end()
    }
}

fn is_uuid(text: &str) -> bool {
    let shape = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(shape)
}

/// The phrases of RFC 9110 §15 for the statuses in the registry.
const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ if status < 500 => "Client Error",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use crate::format::{Format, Style};
    use crate::refusal::Refusal;
    use crate::registry::REGISTRY;
    use crate::reply::{Reply, Shape};
    use crate::request_id::RequestId;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_ours() {
        let id = RequestId::from_random(1);
        let envelope = Refusal::new(crate::Code::RATE_LIMITED, "calm \"down\"").with_request_id(id);
        let style =
            Style::new().with_format(Format::Problem).with_problem_base("https://docs.example/#").unwrap();
        let expected = concat!(
            r##"{"type":"https://docs.example/#RATE_LIMITED","title":"Too many requests in too short a time.","##,
            r##""status":429,"detail":"calm \"down\"","instance":"urn:uuid:00000000-0000-4000-8000-000000000001","##,
            r##""error":"RATE_LIMITED","message":"calm \"down\"","next_action":"RETRY_WITH_BACKOFF","##,
            r##""request_id":"00000000-0000-4000-8000-000000000001","retry_after_ms":1000,"source":"policy","##,
            r##""upstream_answered":false}"##
        );
        assert_eq!(String::from_utf8(envelope.to_body(&style)).unwrap(), expected);
    }

    #[test]
    fn every_problem_is_read_back_whole() {
        let style = Style::new().with_format(Format::Problem);
        for entry in REGISTRY {
            let id = RequestId::parse("not-a-uuid").unwrap();
            let envelope =
                Refusal::from(entry.code().clone()).with_upstream_answered(true).with_request_id(id);
            let body = envelope.to_body(&style);
            let reply = Reply::parse(entry.status(), &body);
            assert_eq!(reply.shape(), Shape::Problem);
            assert_eq!(reply.refusal(), envelope.refusal());
            assert_eq!(reply.request_id(), Some(envelope.request_id()));
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["type"], "about:blank");
            assert_ne!(value["title"], "Client Error");
            assert_ne!(value["title"], "Server Error");
        }
    }
}
