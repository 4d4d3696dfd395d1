//! On what terms a visitor gets in: one decision, in one order, with a reason for every step.

mod auth;
mod basic;
mod bytes;
mod decide;
mod entrance;
mod fields;
mod limit;
mod moment;
mod network;
mod outcome;
mod rules;
mod secret;
mod share;
mod table;
mod visit;
mod walk;
mod webhook;

pub use auth::{AuthMode, PRIVATE_AUTHORIZATION, RUNLOOP_AUTHORIZATION};
pub use basic::BasicUsers;
pub use bytes::{ByteBudget, BytesSpent};
pub use decide::Policy;
pub use entrance::{SHARE_COOKIE, SHARE_FIELD, SHARE_PATH, ShareEntrance};
pub use fields::FieldRules;
pub use limit::{AddressLimit, Rate};
pub use moment::Moment;
pub use network::SourceRules;
pub use outcome::{Decision, Denial, Finding, Forward, Pass, Step, Verdict};
pub use rules::{PathRules, PolicyError};
pub use secret::{SecretDigest, VisitorToken};
pub use share::{NewShare, Share, ShareExpiry, ShareId, ShareKey, Shares};
pub use visit::{Presence, Visit};
pub use webhook::{PendingWebhook, WEBHOOK_FIELD, WebhookCheck, WebhookDemand};

#[cfg(test)]
mod tests;
