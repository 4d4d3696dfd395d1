//! What can be wrong with a protobuf message, and the checks that all of them share.

use crate::CloseCode;
use bytes::Bytes;
use std::time::Duration;

/// A control message or stream head that breaks the specification, in either direction: what a peer sent, or what
/// our caller wants to send. Never holds any of the message's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The whole is longer than its limit.
    #[error("a message of {length} octets is over its limit of {limit}")]
    TooLarge {
        /// Its length.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A field is longer than its limit, in octets.
    #[error("`{field}` is over its limit of {limit} octets")]
    FieldTooLarge {
        /// The field.
        field: &'static str,
        /// What is allowed.
        limit: usize,
    },
    /// A repeated field or map has more entries than its limit.
    #[error("`{field}` has more than {limit} entries")]
    TooMany {
        /// The field.
        field: &'static str,
        /// What is allowed.
        limit: usize,
    },
    /// Not protobuf: a varint that is too long, text that isn't UTF-8, an end inside a field, nesting without end.
    #[error("not a well-formed protobuf message")]
    Malformed,
    /// A field is absent that the message can't do without.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A credential's id, or a proof, that has not the form of one: the same answer as for a wrong one.
    #[error("`{field}` was not accepted")]
    Credential {
        /// The field.
        field: &'static str,
    },
    /// A value outside its range.
    #[error("`{field}` has an impossible value")]
    Value {
        /// The field.
        field: &'static str,
    },
}

impl MessageError {
    /// The code to close the session (control message) or the stream (stream head) with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } | Self::FieldTooLarge { .. } | Self::TooMany { .. } => {
                CloseCode::FRAME_TOO_LARGE
            }
            Self::Credential { .. } => CloseCode::AUTH_FAILED,
            Self::Malformed | Self::Missing { .. } | Self::Value { .. } => CloseCode::MALFORMED,
        }
    }
}

impl From<prost::DecodeError> for MessageError {
    /// Drops prost's text: it may quote the message.
    fn from(_: prost::DecodeError) -> Self {
        Self::Malformed
    }
}

/// Text, where empty stands for absent.
pub(crate) fn text(field: &'static str, value: String, limit: usize) -> Result<Option<String>, MessageError> {
    if value.len() > limit {
        return Err(MessageError::FieldTooLarge { field, limit });
    }
    Ok((!value.is_empty()).then_some(value))
}

/// Octets, where empty stands for absent.
pub(crate) fn octets(field: &'static str, value: Bytes, limit: usize) -> Result<Bytes, MessageError> {
    if value.len() > limit {
        return Err(MessageError::FieldTooLarge { field, limit });
    }
    Ok(value)
}

/// Exactly `N` octets, or none at all.
pub(crate) fn exactly<const N: usize>(
    field: &'static str,
    value: &[u8],
) -> Result<Option<[u8; N]>, MessageError> {
    if value.is_empty() {
        return Ok(None);
    }
    value.try_into().map(Some).map_err(|_| MessageError::Value { field })
}

/// A proof. Where another length came, it is wrong like any other; only what is absurdly long is called so.
pub(crate) fn proof(field: &'static str, value: &[u8]) -> Result<Option<[u8; 32]>, MessageError> {
    match value.len() {
        0 => Ok(None),
        1..=MAX_PROOF_BYTES => value.try_into().map(Some).map_err(|_| MessageError::Credential { field }),
        _ => Err(MessageError::FieldTooLarge { field, limit: MAX_PROOF_BYTES }),
    }
}

/// Up to here a proof or an id is wrong rather than too large, in octets.
pub(crate) const MAX_PROOF_BYTES: usize = 512;

/// A list of texts.
pub(crate) fn texts(
    field: &'static str,
    values: Vec<String>,
    most: usize,
    limit: usize,
) -> Result<Vec<String>, MessageError> {
    if values.len() > most {
        return Err(MessageError::TooMany { field, limit: most });
    }
    match values.iter().any(|value| value.len() > limit) {
        true => Err(MessageError::FieldTooLarge { field, limit }),
        false => Ok(values),
    }
}

/// A number that is never 0.
pub(crate) fn nonzero(field: &'static str, value: u64) -> Result<u64, MessageError> {
    if value == 0 { Err(MessageError::Missing { field }) } else { Ok(value) }
}

/// A port, where 0 stands for none.
pub(crate) fn port(field: &'static str, value: u32) -> Result<u16, MessageError> {
    u16::try_from(value).map_err(|_| MessageError::Value { field })
}

/// Milliseconds, saturating: nothing on the wire lasts 584 million years.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
