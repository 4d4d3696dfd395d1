//! Webhooks that go through the tunnel: whether they are signed is checked on the way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_errors::{Code, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::outcome::{Denial, Trail};
use super::walk::Taken;
use super::{Finding, Forward, Moment, Presence, Step};
use crate::request::PathView;
use crate::webhook::{Receiver, WebhookError};

/// The field that tells the upstream what was found: `valid`, `valid, duplicate` or `invalid`. A visitor can't forge it.
pub const WEBHOOK_FIELD: HeaderName = HeaderName::from_static("x-adit-webhook");

/// What becomes of a webhook without a good signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WebhookDemand {
    /// It goes on, and the upstream is told by [`WEBHOOK_FIELD`]. At most 60 a minute do.
    #[default]
    Tell,
    /// It is refused with 401.
    Require,
}

/// Checks the signatures of requests below a path, whatever their method. Their bodies are read whole before they go on.
#[derive(Debug)]
pub struct WebhookCheck {
    path: Box<str>,
    demand: WebhookDemand,
    receiver: Mutex<Receiver>,
}

impl WebhookCheck {
    /// Checks all requests by the rules of `receiver`, and tells the upstream.
    #[must_use]
    pub fn new(receiver: Receiver) -> Self {
        Self { path: "/".into(), demand: WebhookDemand::default(), receiver: Mutex::new(receiver) }
    }

    /// Checks requests at and below this path, in every reading of it; `/`, which is all, unless set.
    #[must_use]
    pub fn below(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    /// What becomes of a webhook without a good signature; the upstream is told unless set.
    #[must_use]
    pub fn demand(self, demand: WebhookDemand) -> Self {
        Self { demand, ..self }
    }

    /// The receiver, to rotate its secret.
    pub fn receiver(&self) -> MutexGuard<'_, Receiver> {
        // No step under the lock leaves a receiver half changed.
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_for(&self, path: &str) -> bool {
        PathView::new(path).is_below(&self.path)
    }

    /// What the upstream is told, or why it is told nothing.
    pub(super) fn receive(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Moment,
    ) -> Taken<(Finding, HeaderValue)> {
        let refused =
            |error: WebhookError| Denial::new(Step::Webhook, Finding::WebhookRefused, Refusal::from(&error));
        let received = self.receiver().receive(headers, body, now.system()).map_err(refused)?;
        match (received.is_signature_valid, received.is_duplicate, self.demand) {
            (true, false, _) => Ok((Finding::SignatureValid, HeaderValue::from_static("valid"))),
            (true, true, _) => Ok((Finding::SignatureRepeated, HeaderValue::from_static("valid, duplicate"))),
            (false, _, WebhookDemand::Tell) => {
                Ok((Finding::SignatureInvalid, HeaderValue::from_static("invalid")))
            }
            (false, _, WebhookDemand::Require) => {
                Err(Denial::of(Step::Webhook, Finding::SignatureRefused, Code::AUTH_FAILED))
            }
        }
    }
}

/// A request whose body decides. It has passed all steps before.
#[derive(Debug)]
pub struct PendingWebhook {
    pub(super) forward: Forward,
    pub(super) trail: Trail,
    pub(super) presence: Presence,
    pub(super) is_http: bool,
}

impl PendingWebhook {
    /// The largest body to read: 25 MiB. Of a larger one, give what was read so far; it will be refused.
    pub const MAX_BODY_BYTES: usize = Receiver::MAX_BODY_BYTES;
}
