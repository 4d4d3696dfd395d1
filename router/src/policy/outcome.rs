//! What was decided, and why.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use adit_errors::{Code, NextAction, Refusal};
use http::{HeaderName, HeaderValue};

use super::{PendingWebhook, SecretDigest, ShareEntrance, ShareId};

/// A decision: what to do with a visit, and what each step found.
///
/// `{decision}` writes the findings for the owner of the tunnel, as
/// `life cycle: active; source: any; credential: token known; …; rate: spent, refused`. No secret and no address is in
/// it.
#[derive(Debug)]
pub struct Decision {
    verdict: Verdict,
    trail: Trail,
}

impl Decision {
    pub(super) fn new(verdict: Verdict, trail: Trail) -> Self {
        Self { verdict, trail }
    }

    /// What to do.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What to do, by value.
    #[must_use]
    pub fn into_verdict(self) -> Verdict {
        self.verdict
    }

    /// What was found, step by step, in the order of [`Step::ALL`]. The last one decided.
    pub fn findings(&self) -> impl Iterator<Item = (Step, Finding)> {
        self.trail.iter()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (step, finding)) in self.findings().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", step.as_str(), finding.as_str())?;
        }
        Ok(())
    }
}

/// What to do with a visit.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever acts on a decision must know each")]
pub enum Verdict {
    /// Open a stream to an agent.
    Forward(Forward),
    /// The machine sleeps and is to be woken for this visit: hold it (see [`WakeGate`](crate::WakeGate)), then forward.
    Wake(Forward),
    /// Read the whole body and give it to [`Policy::receive_body`](super::Policy::receive_body), which decides.
    AwaitBody(PendingWebhook),
    /// Answer 303: the visitor came by a share's link.
    Enter(ShareEntrance),
    /// Answer with the refusal.
    Deny(Box<Denial>),
}

/// The steps, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Whether the tunnel lets visitors in at all.
    LifeCycle,
    /// Whether it does so from this address.
    Source,
    /// Who the visitor is.
    Credential,
    /// On what terms, if they have a share.
    Share,
    /// Whether method and path are allowed.
    Path,
    /// Whether there are too many requests.
    Rate,
    /// Which fields are changed.
    Fields,
    /// Whether the body is signed.
    Webhook,
    /// Whether there are bytes left.
    Bytes,
    /// Whether the machine behind the tunnel is awake.
    Presence,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::LifeCycle,
        Self::Source,
        Self::Credential,
        Self::Share,
        Self::Path,
        Self::Rate,
        Self::Fields,
        Self::Webhook,
        Self::Bytes,
        Self::Presence,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LifeCycle => "life cycle",
            Self::Source => "source",
            Self::Credential => "credential",
            Self::Share => "share",
            Self::Path => "path",
            Self::Rate => "rate",
            Self::Fields => "fields",
            Self::Webhook => "webhook",
            Self::Bytes => "bytes",
            Self::Presence => "presence",
        }
    }
}

macro_rules! findings {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What a step found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Finding {
            $($(#[$doc])* $name,)+
        }

        impl Finding {
            /// In a few words.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

findings! {
    /// The owner set nothing that this step would have to look at.
    NoRule = "no rule",
    /// The tunnel is active.
    Active = "active",
    /// It is paused, awaits its certificate, is deleted, or its time is over.
    NotActive = "not active, refused",
    /// Every address may visit.
    AnySource = "any",
    /// The address is in an allowed network.
    SourceAllowed = "allowed",
    /// The address is in a denied network.
    SourceDenied = "denied, refused",
    /// The address is in no allowed network.
    SourceNotAllowed = "not allowed, refused",
    /// Everybody may visit.
    OpenToAll = "open",
    /// The token is known.
    TokenKnown = "token known",
    /// Name and password are known.
    PasswordKnown = "password known",
    /// A share is shown, which the next step looks at.
    ShareShown = "share shown",
    /// Nothing is presented.
    CredentialMissing = "missing, refused",
    /// What is presented is not known.
    CredentialWrong = "wrong, refused",
    /// Two are presented.
    CredentialDoubled = "doubled, refused",
    /// A connection of which nothing is read can't present anything.
    NothingToRead = "asked for, but this is no HTTP, refused",
    /// No share is used.
    NoShare = "none",
    /// The share holds.
    ShareHolds = "holds",
    /// There is no such share, or it has ended.
    ShareUnknown = "unknown or ended, refused",
    /// The share is not for this method.
    ShareMethodRefused = "not for this method, refused",
    /// The share's rate is spent.
    ShareRateSpent = "rate spent, refused",
    /// Method and path are allowed.
    PathAllowed = "allowed",
    /// The tunnel is not for this method.
    MethodRefused = "method, refused",
    /// The path is denied.
    PathDenied = "denied, refused",
    /// The rates are kept.
    WithinRate = "kept",
    /// The address' rate is spent.
    AddressRateSpent = "spent by this address, refused",
    /// The tunnel's rate is spent.
    RateSpent = "spent, refused",
    /// Fields will be set or removed.
    FieldsChanged = "changed",
    /// The body is to be read first.
    BodyAwaited = "body awaited",
    /// The body is signed.
    SignatureValid = "signed",
    /// The body was signed, and came before.
    SignatureRepeated = "signed, came before",
    /// The body isn't signed; the upstream is told.
    SignatureInvalid = "not signed",
    /// The body isn't signed, and has to be.
    SignatureRefused = "not signed, refused",
    /// The body is too large, or too many weren't signed.
    WebhookRefused = "refused",
    /// There are bytes left.
    BytesLeft = "left",
    /// The budget of bytes is used up.
    BytesSpent = "spent, refused",
    /// The machine is awake.
    Awake = "awake",
    /// The machine is to be woken.
    Waking = "to be woken",
    /// The machine sleeps, and visits don't wake it.
    Asleep = "asleep, refused",
}

/// What to let through, and for how long.
#[derive(Debug)]
pub struct Forward {
    pub(super) pass: Pass,
    pub(super) strips_override: bool,
    pub(super) webhook: Option<HeaderValue>,
}

impl Forward {
    /// What the visit rests on: keep it with the stream.
    #[must_use]
    pub fn pass(&self) -> &Pass {
        &self.pass
    }
}

/// What a visit rests on. A stream that outlives the decision keeps it, and ends when it no longer holds.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub(super) basis: Basis,
    pub(super) source: IpAddr,
    pub(super) deadline: Option<Instant>,
}

impl Pass {
    /// When to ask again at the latest: the end of the share.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The share that it rests on.
    #[must_use]
    pub fn share(&self) -> Option<ShareId> {
        match self.basis {
            Basis::Share(id) => Some(id),
            Basis::Nothing | Basis::Token(_) | Basis::User(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Basis {
    Nothing,
    Token(SecretDigest),
    User(SecretDigest),
    Share(ShareId),
}

/// A visit that is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    step: Step,
    finding: Finding,
    refusal: Refusal,
    field: Option<(HeaderName, HeaderValue)>,
}

impl Denial {
    pub(super) fn new(step: Step, finding: Finding, refusal: Refusal) -> Box<Self> {
        Box::new(Self { step, finding, refusal, field: None })
    }

    pub(super) fn of(step: Step, finding: Finding, code: Code) -> Box<Self> {
        Self::new(step, finding, Refusal::from(code))
    }

    pub(super) fn with_field(mut self: Box<Self>, name: HeaderName, value: HeaderValue) -> Box<Self> {
        self.field = Some((name, value));
        self
    }

    /// The step that turned it away.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// What that step found.
    #[must_use]
    pub fn finding(&self) -> Finding {
        self.finding
    }

    /// What to answer: code, status, next action, retry hint.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The field that goes with the status: `Allow` with 405, `WWW-Authenticate` with 401.
    #[must_use]
    pub fn field(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.field.as_ref()
    }
}

impl From<Box<Denial>> for Refusal {
    fn from(denial: Box<Denial>) -> Self {
        denial.refusal
    }
}

/// Only the owner can help: no retry does.
pub(super) fn bytes_spent() -> Refusal {
    let message = b"the tunnel's budget of bytes is used up";
    Refusal::from_parts(Code::QUOTA_EXCEEDED, Some(NextAction::CONTACT_OWNER), message)
}

/// A finding for each step that was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trail([Option<Finding>; Step::ALL.len()]);

impl Trail {
    pub(super) fn note(&mut self, step: Step, finding: Finding) {
        if let Some((_, place)) = Step::ALL.iter().zip(&mut self.0).find(|(of, _)| **of == step) {
            *place = Some(finding);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Step, Finding)> {
        Step::ALL.into_iter().zip(self.0).filter_map(|(step, finding)| Some((step, finding?)))
    }
}
