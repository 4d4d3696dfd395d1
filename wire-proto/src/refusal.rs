//! Refusals, between their types and the wire (SPEC, "Refusals").

use crate::message::{MessageError, text};
use crate::pb;
use adit_errors::{Code, Envelope, NextAction, Refusal, RequestId, RetryAfter, Source};

const MAX_CODE_BYTES: usize = 64;
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_REQUEST_ID_BYTES: usize = 128;
const MAX_SOURCE_BYTES: usize = 32;

pub(crate) fn to_wire(envelope: &Envelope) -> pb::Refusal {
    pb::Refusal {
        code: envelope.code().as_str().to_owned(),
        message: envelope.message().to_owned(),
        next_action: envelope.next_action().as_str().to_owned(),
        request_id: envelope.request_id().as_str().to_owned(),
        retry_after_ms: envelope.retry_after().map(|hint| u64::from(hint.as_millis())),
        source: envelope.source().as_str().to_owned(),
        upstream_answered: Some(envelope.upstream_answered()),
    }
}

/// Codes and next actions that this version doesn't know survive; a source that it doesn't know becomes the code's.
pub(crate) fn from_wire(wire: pb::Refusal) -> Result<Envelope, MessageError> {
    let missing = |field| MessageError::Missing { field };
    let code = text("refusal.code", wire.code, MAX_CODE_BYTES)?.ok_or_else(|| missing("refusal.code"))?;
    let code = Code::parse(&code).map_err(|_| MessageError::Value { field: "refusal.code" })?;
    let action = text("refusal.next_action", wire.next_action, MAX_CODE_BYTES)?
        .map(|action| NextAction::parse(&action))
        .transpose()
        .map_err(|_| MessageError::Value { field: "refusal.next_action" })?;
    let message = text("refusal.message", wire.message, MAX_MESSAGE_BYTES)?.unwrap_or_default();
    let id = text("refusal.request_id", wire.request_id, MAX_REQUEST_ID_BYTES)?
        .ok_or_else(|| missing("refusal.request_id"))?;
    let id = RequestId::parse(&id).map_err(|_| MessageError::Value { field: "refusal.request_id" })?;
    let source = text("refusal.source", wire.source, MAX_SOURCE_BYTES)?;
    let mut refusal = Refusal::from_parts(code, action, message.as_bytes());
    if let Some(millis) = wire.retry_after_ms {
        refusal = refusal.with_retry_after(RetryAfter::from_millis(millis));
    }
    if let Some(source) = source.as_deref().and_then(Source::parse) {
        refusal = refusal.with_source(source);
    }
    if let Some(answered) = wire.upstream_answered {
        refusal = refusal.with_upstream_answered(answered);
    }
    Ok(refusal.with_request_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w25_every_refusal_of_the_registry_survives_the_wire() {
        let id = RequestId::parse("req-1").unwrap();
        for entry in adit_errors::registry::REGISTRY {
            let envelope = Refusal::of(entry, "why").with_request_id(id.clone());
            assert_eq!(from_wire(to_wire(&envelope)).unwrap(), envelope, "{}", entry.code());
        }
    }

    #[test]
    fn codes_and_actions_of_a_later_version_survive() {
        let wire = pb::Refusal {
            code: "FLUX_CAPACITOR_EMPTY".into(),
            next_action: "GO_BACK_IN_TIME".into(),
            request_id: "r".into(),
            source: "moon".into(),
            ..pb::Refusal::default()
        };
        let envelope = from_wire(wire).unwrap();
        assert_eq!(envelope.code().as_str(), "FLUX_CAPACITOR_EMPTY");
        assert_eq!(envelope.next_action().as_str(), "GO_BACK_IN_TIME");
        assert_eq!(to_wire(&envelope).code, "FLUX_CAPACITOR_EMPTY");
    }

    #[test]
    fn a_refusal_without_code_or_request_id_is_malformed() {
        let missing = |field| Err(MessageError::Missing { field });
        assert_eq!(from_wire(pb::Refusal::default()), missing("refusal.code"));
        let wire = pb::Refusal { code: "NOT_FOUND".into(), ..pb::Refusal::default() };
        assert_eq!(from_wire(wire), missing("refusal.request_id"));
    }
}
