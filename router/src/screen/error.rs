//! Why a screen refuses, and what the visitor is told.

use adit_errors::{Code, Refusal};

/// Why the octets of a connection may not go on. Answer with the refusal, in turn behind the answers to earlier
/// requests, and close: where the next request begins is in doubt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScreenError {
    /// The request line is not `method SP target SP version`, or the target has a fragment (400, RFC 9112 §3).
    #[error("the request line is not method, target and version with one space between")]
    RequestLine {},
    /// The version is neither HTTP/1.0 nor HTTP/1.1 (400).
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version {},
    /// A line that does not end in CR LF, or either of them elsewhere (400, RFC 9112 §2.2).
    #[error("a line must end in CR LF, and neither may stand elsewhere")]
    LineEnd {},
    /// A field that goes on in another line (400, RFC 9112 §5.2).
    #[error("a field must not be folded")]
    Folding {},
    /// A field without a name, without a colon, or with anything but a token before it, such as a space (400).
    #[error("a field name is a token with a colon right behind it")]
    FieldName {},
    /// A control octet in a field's value (400, RFC 9110 §5.5).
    #[error("a field value has a control octet")]
    FieldValue {},
    /// `content_length` or `transfer_encoding`: upstreams that fold underscores read them as the real ones (400).
    #[error("a field is spelled so that some upstreams take it for one about the body's length")]
    Alias {},
    /// The target is too long (414).
    #[error("the request target is longer than {max_bytes} bytes")]
    TargetTooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// The head, or what follows the last chunk, is too large (431).
    #[error("the request head is larger than {max_bytes} bytes")]
    HeadTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// There are too many fields (431).
    #[error("the request has more than {max_fields} header fields")]
    TooManyFields {
        /// The limit.
        max_fields: usize,
    },
    /// The head was not whole in time (408).
    #[error("the request head did not arrive in time")]
    HeadTooSlow {},
    /// The body came more slowly than the least rate (408).
    #[error("the request body arrives too slowly")]
    BodyTooSlow {},
    /// Content-Length is repeated, or not a plain decimal number below 2⁶⁴ (400, RFC 9112 §6.3).
    #[error("Content-Length must be sent once, as a plain decimal number")]
    ContentLength {},
    /// Transfer-Encoding is repeated, does not end in one `chunked`, or stands in HTTP/1.0 (400).
    #[error("Transfer-Encoding must be sent once, as chunked, and only in HTTP/1.1")]
    TransferEncoding {},
    /// A coding beside `chunked` (501, RFC 9112 §6.1).
    #[error("no transfer coding but chunked is understood here")]
    UnsupportedCoding {},
    /// Both Content-Length and Transfer-Encoding: the mark of request smuggling (400).
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndCoding {},
    /// A chunk whose size is no plain hexadecimal number below 2⁶⁰, whose lines don't end in CR LF, whose data is longer
    /// or shorter than said, extensions of another form than `;name`, `;name=value` or `;name="value"`, or more than 4 KiB of
    /// them (400, RFC 9112 §7.1).
    #[error("the body's chunks are not well formed")]
    Chunk {},
    /// A field behind the last chunk that must stand before the body (400, RFC 9110 §6.5.1).
    #[error("a field about routing or length stands behind the body")]
    Trailer {},
}

impl From<&ScreenError> for Refusal {
    fn from(error: &ScreenError) -> Self {
        let code = match error {
            ScreenError::TargetTooLong { .. } => Code::URI_TOO_LONG,
            ScreenError::HeadTooLarge { .. } | ScreenError::TooManyFields { .. } => Code::HEADERS_TOO_LARGE,
            ScreenError::HeadTooSlow {} | ScreenError::BodyTooSlow {} => Code::REQUEST_TIMEOUT,
            ScreenError::UnsupportedCoding {} => Code::NOT_IMPLEMENTED,
            ScreenError::RequestLine {}
            | ScreenError::Version {}
            | ScreenError::LineEnd {}
            | ScreenError::Folding {}
            | ScreenError::FieldName {}
            | ScreenError::FieldValue {}
            | ScreenError::Alias {}
            | ScreenError::ContentLength {}
            | ScreenError::TransferEncoding {}
            | ScreenError::LengthAndCoding {}
            | ScreenError::Chunk {}
            | ScreenError::Trailer {} => Code::VALIDATION_FAILED,
        };
        Self::new(code, error.to_string())
    }
}
