#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod spelling;
pub use spelling::SpellingError;

mod action;
pub use action::{ActionEntry, NextAction};

mod code;
pub use code::Code;

mod source;
pub use source::{Effect, Fixer, Repeat, Source};

pub mod registry;
pub use registry::{Entry, REGISTRY};

mod message;
pub use message::{Echo, MAX_MESSAGE_BYTES};

mod request_id;
pub use request_id::{RequestId, RequestIdError};

mod retry_after;
pub use retry_after::RetryAfter;

mod refusal;
pub use refusal::Refusal;

mod envelope;
pub use envelope::Envelope;

mod hidden;
pub use hidden::Hidden;

mod exchange;
pub use exchange::{Exchange, Outcome};

mod reply;
pub use reply::{MAX_REPLY_BYTES, Reply, Shape};

mod retry;
pub use retry::{Attempt, Decision, RetryPolicy, StopReason};

mod request_body;
pub use request_body::{check_request_length, read_request};

mod format;
pub use format::{Format, Style, StyleError};

mod problem;

mod proxy_status;

mod catalogue;
pub use catalogue::{codes_page, envelope_schema};

#[cfg(feature = "http")]
mod response;

#[cfg(feature = "axum")]
mod axum;

#[cfg(feature = "idempotency")]
pub mod idempotency;
