//! Webhooks from third parties: whether their signature holds, and whether they came before.

mod memory;
mod receiver;
mod signature;

pub use receiver::{Received, Receiver, WebhookError};
pub use signature::{SecretError, SignatureEncoding, Validator, ValidatorError, WebhookSecret};
