//! What is kept of a tunnel between connections.

use std::time::{Duration, SystemTime};

use adit_errors::{Code, Refusal};
use adit_naming::{Description, DisplayName, TunnelName};

use super::state::{Command, Event, State, StateError, Terms};
use super::status::visitor_refusal;
use crate::TunnelId;

/// What to create a tunnel with.
#[derive(Clone, Debug)]
pub struct NewRecord {
    id: TunnelId,
    name: TunnelName,
    tls_mode: TlsMode,
    time_to_live: Option<Duration>,
    grace: Duration,
}

impl NewRecord {
    /// A tunnel in edge mode, without an end, restorable for 24 hours.
    #[must_use]
    pub fn new(id: TunnelId, name: TunnelName) -> Self {
        Self { id, name, tls_mode: TlsMode::Edge, time_to_live: None, grace: Duration::from_secs(86_400) }
    }

    /// Who ends TLS; the gateway unless set. It can't be changed later.
    #[must_use]
    pub fn tls_mode(self, tls_mode: TlsMode) -> Self {
        Self { tls_mode, ..self }
    }

    /// How long the tunnel lives; without an end unless set. Zero ends it at the first tick.
    #[must_use]
    pub fn time_to_live(self, time_to_live: Duration) -> Self {
        Self { time_to_live: Some(time_to_live), ..self }
    }

    /// How long it can be restored after a delete, and its name stays its own; 24 hours unless set.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

/// Who ends TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsMode {
    /// The gateway, with its own certificate. The tunnel is active at once.
    Edge,
    /// The agent, with its own key. The tunnel awaits its certificate.
    Passthrough,
}

/// A tunnel's record: what its owner set, its state, and a revision that counts every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    id: TunnelId,
    name: TunnelName,
    tls_mode: TlsMode,
    display_name: Option<DisplayName>,
    description: Option<Description>,
    /// At most [`Record::MAX_METADATA_BYTES`].
    metadata: Option<Box<str>>,
    created: SystemTime,
    terms: Terms,
    certified_until: Option<SystemTime>,
    state: State,
    revision: u64,
}

impl Record {
    /// The most bytes of metadata: 16 KiB.
    pub const MAX_METADATA_BYTES: usize = 16 * 1024;

    /// A new tunnel, with the event to tell.
    #[must_use]
    pub fn create(new: NewRecord, now: SystemTime) -> (Self, Event) {
        let state = match new.tls_mode {
            TlsMode::Edge => State::Active,
            TlsMode::Passthrough => State::AwaitingCert,
        };
        // A time to live beyond what the clock can say is none.
        let expires = new.time_to_live.and_then(|time| now.checked_add(time));
        let record = Self {
            id: new.id,
            name: new.name,
            tls_mode: new.tls_mode,
            display_name: None,
            description: None,
            metadata: None,
            created: now,
            terms: Terms { grace: new.grace, expires },
            certified_until: None,
            state,
            revision: 1,
        };
        (record, Event::Created)
    }

    /// A record that was kept elsewhere, as it was: made with `new`, described by `details`, and with this `past`. The time to
    /// live of `new` doesn't count; its end is in the past.
    ///
    /// # Errors
    /// [`ChangeError`] if the details are no record's.
    pub fn restored(new: NewRecord, details: Changes, past: Past) -> Result<Self, ChangeError> {
        let grace = new.grace;
        let (mut record, _created) = Self::create(new, past.created);
        record.update(details)?;
        record.terms = Terms { grace, expires: past.expires };
        record.certified_until = past.certified_until;
        record.state = past.state;
        record.revision = past.revision;
        Ok(record)
    }

    /// Carries out a command. `None` if it had been carried out before.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is changed then.
    pub fn apply(&mut self, command: Command, now: SystemTime) -> Result<Option<Event>, RecordError> {
        if command == Command::Certify && self.tls_mode != TlsMode::Passthrough {
            return Err(RecordError::NotPassthrough {});
        }
        let (state, event) = self.state.after(command, now, self.terms)?;
        if event.is_some() {
            self.state = state;
            self.revision += 1;
        }
        Ok(event)
    }

    /// Notes a certificate that was signed and is valid until `not_after`: [`Command::Certify`] with its end.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is changed then.
    pub fn certify(&mut self, not_after: SystemTime, now: SystemTime) -> Result<Option<Event>, RecordError> {
        let event = self.apply(Command::Certify, now)?;
        self.certified_until = self.certified_until.max(Some(not_after));
        Ok(event)
    }

    /// Changes what may be changed, all of it or nothing. `None` if all was so already.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub fn update(&mut self, changes: Changes) -> Result<Option<Event>, ChangeError> {
        self.check(&changes)?;
        let before = self.clone();
        if let Some(display_name) = changes.display_name {
            self.display_name = display_name;
        }
        if let Some(description) = changes.description {
            self.description = description;
        }
        if let Some(metadata) = changes.metadata {
            self.metadata = metadata;
        }
        if *self == before {
            return Ok(None);
        }
        self.revision += 1;
        Ok(Some(Event::Updated))
    }

    /// The tunnel's number.
    #[must_use]
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// Its name, for good.
    #[must_use]
    pub fn name(&self) -> &TunnelName {
        &self.name
    }

    /// Who ends TLS, for good.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        self.tls_mode
    }

    /// What people call it.
    #[must_use]
    pub fn display_name(&self) -> Option<&DisplayName> {
        self.display_name.as_ref()
    }

    /// What its owner says about it.
    #[must_use]
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// Its owner's own text, such as a JSON object; whether it is one is for the API to check.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// When its time to live ends.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.terms.expires
    }

    /// How long it can be restored after a delete.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.terms.grace
    }

    /// The end of the last certificate that was noted.
    #[must_use]
    pub fn certified_until(&self) -> Option<SystemTime> {
        self.certified_until
    }

    /// Its state, as of the last command.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was changed, the creation included. For stores that compare before they replace.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When to apply [`Command::Tick`] next.
    #[must_use]
    pub fn next_tick(&self) -> Option<SystemTime> {
        self.state.next_tick(self.terms)
    }

    /// Until when its name may go to nobody else, once it is pending deletion or deleted: the end of the grace, and for a
    /// passthrough tunnel the end of its last certificate, with which its old agent could still pose as the new owner.
    #[must_use]
    pub fn name_held_until(&self) -> Option<SystemTime> {
        let grace = match self.state {
            State::DeletePending { until, .. } => Some(until),
            State::AwaitingCert | State::Active | State::Paused | State::Deleted => None,
        };
        grace.max(self.certified_until)
    }

    /// What a visitor is told who comes now; `None` if the tunnel may be tried.
    ///
    /// Awaiting a certificate 404, paused 503, pending or deleted 404 as if it had never been (cases ). On a
    /// passthrough port all of these are TLS alert 112 (case T-30).
    #[must_use]
    pub fn visitor_refusal(&self, now: SystemTime) -> Option<Refusal> {
        visitor_refusal(self.state, self.terms.expires, now)
    }

    fn check(&self, changes: &Changes) -> Result<(), ChangeError> {
        if self.state == State::Deleted {
            return Err(ChangeError::Gone {});
        }
        if changes.name.as_ref().is_some_and(|name| *name != self.name) {
            return Err(ChangeError::Immutable { field: "name" });
        }
        if changes.tls_mode.is_some_and(|tls_mode| tls_mode != self.tls_mode) {
            return Err(ChangeError::Immutable { field: "tls_mode" });
        }
        let metadata = changes.metadata.as_ref().and_then(Option::as_ref);
        if metadata.is_some_and(|metadata| metadata.len() > Self::MAX_METADATA_BYTES) {
            return Err(ChangeError::MetadataTooLarge { max_bytes: Self::MAX_METADATA_BYTES });
        }
        Ok(())
    }
}

/// What became of a record since it was made, for stores that keep records in their own form.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    created: SystemTime,
    state: State,
    revision: u64,
    expires: Option<SystemTime>,
    certified_until: Option<SystemTime>,
}

impl Past {
    /// A record made then, in this state, changed so often; without an end, and without a certificate.
    #[must_use]
    pub fn new(created: SystemTime, state: State, revision: u64) -> Self {
        Self { created, state, revision, expires: None, certified_until: None }
    }

    /// When its time to live ends.
    #[must_use]
    pub fn expires(self, expires: Option<SystemTime>) -> Self {
        Self { expires, ..self }
    }

    /// When its last certificate ends.
    #[must_use]
    pub fn certified_until(self, certified_until: Option<SystemTime>) -> Self {
        Self { certified_until, ..self }
    }
}

/// Changes to a record. What isn't mentioned stays.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    name: Option<TunnelName>,
    tls_mode: Option<TlsMode>,
    display_name: Option<Option<DisplayName>>,
    description: Option<Option<Description>>,
    metadata: Option<Option<Box<str>>>,
}

impl Changes {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A name in the request: taken if it is the tunnel's own, refused otherwise.
    #[must_use]
    pub fn name(self, name: TunnelName) -> Self {
        Self { name: Some(name), ..self }
    }

    /// A TLS mode in the request: taken if it is the tunnel's own, refused otherwise (threat H13).
    #[must_use]
    pub fn tls_mode(self, tls_mode: TlsMode) -> Self {
        Self { tls_mode: Some(tls_mode), ..self }
    }

    /// Sets or clears what people call it.
    #[must_use]
    pub fn display_name(self, display_name: Option<DisplayName>) -> Self {
        Self { display_name: Some(display_name), ..self }
    }

    /// Sets or clears the description.
    #[must_use]
    pub fn description(self, description: Option<Description>) -> Self {
        Self { description: Some(description), ..self }
    }

    /// Sets or clears the metadata.
    #[must_use]
    pub fn metadata(self, metadata: Option<&str>) -> Self {
        Self { metadata: Some(metadata.map(Into::into)), ..self }
    }
}

/// A command that a record doesn't take. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Its state doesn't allow it.
    #[error(transparent)]
    State(#[from] StateError),
    /// In edge mode the gateway has the certificate; there is nothing to sign (case C-35).
    #[error("only a tunnel in passthrough mode has a certificate of its own")]
    NotPassthrough {},
}

impl From<&RecordError> for Refusal {
    fn from(error: &RecordError) -> Self {
        match error {
            RecordError::State(error) => Self::from(error),
            RecordError::NotPassthrough {} => Self::new(Code::CONFLICT, error.to_string()),
        }
    }
}

/// Changes that a record doesn't take. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The field is fixed at creation; make another tunnel.
    #[error("{field} cannot be changed after creation")]
    Immutable {
        /// The field's name in the API.
        field: &'static str,
    },
    /// The metadata is too large.
    #[error("metadata is larger than {max_bytes} bytes")]
    MetadataTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The tunnel is deleted.
    #[error("there is no such tunnel")]
    Gone {},
}

impl From<&ChangeError> for Refusal {
    fn from(error: &ChangeError) -> Self {
        match error {
            ChangeError::Immutable { .. } | ChangeError::MetadataTooLarge { .. } => {
                Self::new(Code::VALIDATION_FAILED, error.to_string())
            }
            ChangeError::Gone {} => Self::from(Code::NOT_FOUND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h13_name_and_tls_mode_are_for_good() {
        let mut record = record(TlsMode::Edge);
        let before = record.clone();
        let same = Changes::new().name(record.name().clone()).tls_mode(TlsMode::Edge);
        assert_eq!(record.update(same), Ok(None));
        let other_name = Changes::new().name(TunnelName::parse("other").unwrap()).metadata(Some("{}"));
        assert_eq!(record.update(other_name), Err(ChangeError::Immutable { field: "name" }));
        let other_mode = Changes::new().tls_mode(TlsMode::Passthrough);
        assert_eq!(record.update(other_mode), Err(ChangeError::Immutable { field: "tls_mode" }));
        assert_eq!(record, before);
    }

    #[test]
    fn what_is_not_mentioned_stays() {
        let mut record = record(TlsMode::Edge);
        let name = DisplayName::parse("Demo").unwrap();
        let changes = Changes::new().display_name(Some(name.clone())).metadata(Some("{\"a\":1}"));
        assert_eq!(record.update(changes), Ok(Some(Event::Updated)));
        assert_eq!(record.update(Changes::new().metadata(None)), Ok(Some(Event::Updated)));
        assert_eq!((record.display_name(), record.metadata()), (Some(&name), None));
        assert_eq!(record.revision(), 3);
        let too_large = "x".repeat(Record::MAX_METADATA_BYTES + 1);
        assert!(record.update(Changes::new().metadata(Some(&too_large))).is_err());
    }

    #[test]
    fn r14_visitors_of_each_state_are_told_what_they_may_know() {
        let status = |record: &Record| record.visitor_refusal(NOW).map(|refusal| refusal.status());
        let mut awaiting = record(TlsMode::Passthrough);
        assert_eq!(status(&awaiting), Some(404));
        awaiting.certify(NOW + 90 * DAY, NOW).unwrap();
        assert_eq!(status(&awaiting), None);
        awaiting.apply(Command::Pause, NOW).unwrap();
        assert_eq!(status(&awaiting), Some(503));
        awaiting.apply(Command::Delete, NOW).unwrap();
        assert_eq!(status(&awaiting), Some(404));
    }

    #[test]
    fn r03_a_deleted_tunnel_is_told_as_one_that_never_was() {
        let mut record = record(TlsMode::Edge);
        record.apply(Command::Delete, NOW).unwrap();
        let pending = record.visitor_refusal(NOW).unwrap();
        record.apply(Command::ForceDelete, NOW).unwrap();
        assert_eq!(pending, record.visitor_refusal(NOW).unwrap());
        assert_eq!(pending, Refusal::from(Code::NOT_FOUND));
    }

    #[test]
    fn a_tunnel_is_closed_from_the_moment_its_time_ends_ticked_or_not() {
        let name = TunnelName::parse("demo").unwrap();
        let new = NewRecord::new(TunnelId::from_u128(1), name).time_to_live(DAY);
        let (mut record, _) = Record::create(new, NOW);
        assert_eq!(record.next_tick(), Some(NOW + DAY));
        assert!(record.visitor_refusal(NOW + DAY - Duration::from_nanos(1)).is_none());
        assert_eq!(record.visitor_refusal(NOW + DAY).unwrap().status(), 404);
        assert_eq!(record.apply(Command::Tick, NOW + DAY), Ok(Some(Event::Expired)));
        assert_eq!(record.apply(Command::Tick, NOW + 2 * DAY), Ok(Some(Event::Deleted)));
    }

    #[test]
    fn n13_the_name_of_a_passthrough_tunnel_is_held_until_its_certificate_ends() {
        let mut edge = record(TlsMode::Edge);
        edge.apply(Command::Delete, NOW).unwrap();
        assert_eq!(edge.name_held_until(), Some(NOW + DAY));

        let mut passthrough = record(TlsMode::Passthrough);
        passthrough.certify(NOW + 90 * DAY, NOW).unwrap();
        passthrough.certify(NOW + 60 * DAY, NOW).unwrap();
        passthrough.apply(Command::Delete, NOW).unwrap();
        passthrough.apply(Command::ForceDelete, NOW).unwrap();
        assert_eq!(passthrough.name_held_until(), Some(NOW + 90 * DAY));
    }

    #[test]
    fn c35_an_edge_tunnel_has_nothing_to_sign() {
        let mut record = record(TlsMode::Edge);
        let refused = record.certify(NOW + DAY, NOW).unwrap_err();
        assert_eq!((refused, Refusal::from(&refused).status()), (RecordError::NotPassthrough {}, 409));
        assert_eq!(record.name_held_until(), None);
    }

    fn record(tls_mode: TlsMode) -> Record {
        let name = TunnelName::parse("demo").unwrap();
        Record::create(NewRecord::new(TunnelId::from_u128(1), name).tls_mode(tls_mode), NOW).0
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const DAY: Duration = Duration::from_secs(86_400);
}
