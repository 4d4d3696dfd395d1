//! The gateway's record of one credential, and its rotation.

use super::{CredentialId, Verifier};
use std::time::{Duration, SystemTime};

/// The gateway's record of a credential: present verifier, the one before while it overlaps, and the time in which
/// it is good.
///
/// Times are the gateway's own: what the agent's clock shows has no part in it.
#[derive(Clone, Debug)]
pub struct StoredCredential {
    id: CredentialId,
    current: Verifier,
    /// The verifier before the last rotation, with the moment at which it ends.
    previous: Option<(Verifier, SystemTime)>,
    not_before: Option<SystemTime>,
    not_after: Option<SystemTime>,
    revoked: bool,
}

impl StoredCredential {
    /// How much the clocks of two gateways may differ: times are judged with this leeway.
    pub const LEEWAY: Duration = Duration::from_secs(60);

    /// A record that is good without end.
    pub const fn new(id: CredentialId, verifier: Verifier) -> Self {
        Self { id, current: verifier, previous: None, not_before: None, not_after: None, revoked: false }
    }

    /// The same, good only from and until these moments. `None` is without end.
    #[must_use]
    pub const fn valid_between(
        mut self,
        not_before: Option<SystemTime>,
        not_after: Option<SystemTime>,
    ) -> Self {
        self.not_before = not_before;
        self.not_after = not_after;
        self
    }

    /// The same with the verifier before the last rotation, which is good until `until`: for records that are read from
    /// a store.
    #[must_use]
    pub fn with_previous(mut self, verifier: Verifier, until: SystemTime) -> Self {
        self.previous = Some((verifier, until));
        self
    }

    /// Puts a new verifier in the place of the present one, which stays good for `overlap`; zero ends it at once.
    ///
    /// An overlap that is still running ends: at most two secrets are good at any time. Tell the sessions that were
    /// opened with the old secret, and drain them when it ends.
    pub fn rotate(&mut self, fresh: Verifier, overlap: Duration, now: SystemTime) {
        let old = std::mem::replace(&mut self.current, fresh);
        self.previous = now.checked_add(overlap).filter(|_| !overlap.is_zero()).map(|until| (old, until));
    }

    /// Ends the credential for good.
    pub fn revoke(&mut self) {
        self.revoked = true;
        self.previous = None;
    }

    /// Whether it was ended for good: for the store.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// The public part.
    pub const fn id(&self) -> CredentialId {
        self.id
    }

    /// The present verifier, good or not: for the store.
    pub const fn current(&self) -> &Verifier {
        &self.current
    }

    /// The verifier before the last rotation, and until when it is good, past or not: for the store.
    pub fn previous(&self) -> Option<(&Verifier, SystemTime)> {
        self.previous.as_ref().map(|(verifier, until)| (verifier, *until))
    }

    /// The verifiers that are good now: none, if the record is revoked or outside its time (with
    /// [`LEEWAY`](Self::LEEWAY)). A credential that isn't good is answered like one that doesn't exist.
    pub fn candidates(&self, now: SystemTime) -> [Option<&Verifier>; 2] {
        let early =
            self.not_before.and_then(|from| from.checked_sub(Self::LEEWAY)).is_some_and(|from| now < from);
        let late =
            self.not_after.and_then(|until| until.checked_add(Self::LEEWAY)).is_some_and(|until| now > until);
        if self.revoked || early || late {
            return [None, None];
        }
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(verifier, _)| verifier);
        [Some(&self.current), previous]
    }
}

/// How long to hold back the answer to a proof that failed, after this many failures in a row from one address or for
/// one credential: nothing for the first five, then 100 ms, doubled each time, up to 30 s.
pub fn failure_delay(failures: u32) -> Duration {
    let Some(beyond) = failures.checked_sub(6) else { return Duration::ZERO };
    let doubled = 100_u64.checked_shl(beyond.min(20)).unwrap_or(u64::MAX);
    Duration::from_millis(doubled.min(30_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{Credential, CredentialKind};

    const T0: SystemTime = SystemTime::UNIX_EPOCH;

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn verifier(octet: u8) -> Verifier {
        Credential::from_random(CredentialKind::CapabilityToken, 1, [octet; 32]).verifier()
    }

    fn good(record: &StoredCredential, now: SystemTime) -> Vec<[u8; 64]> {
        record.candidates(now).into_iter().flatten().map(Verifier::to_octets).collect()
    }

    fn record() -> StoredCredential {
        StoredCredential::new(CredentialId::new(CredentialKind::CapabilityToken, 1), verifier(1))
    }

    #[test]
    fn w21_a_rotated_secret_ends_at_once_or_with_its_overlap() {
        let mut record = record();
        record.rotate(verifier(2), Duration::ZERO, T0 + secs(100));
        assert_eq!(good(&record, T0 + secs(100)), [verifier(2).to_octets()]);
        record.rotate(verifier(3), secs(10), T0 + secs(100));
        assert_eq!(good(&record, T0 + secs(109)), [verifier(3).to_octets(), verifier(2).to_octets()]);
        assert_eq!(good(&record, T0 + secs(110)), [verifier(3).to_octets()]);
        record.rotate(verifier(4), secs(10), T0 + secs(101));
        assert_eq!(good(&record, T0 + secs(102)), [verifier(4).to_octets(), verifier(3).to_octets()]);
    }

    #[test]
    fn w21_a_record_that_was_stored_while_secrets_overlap_goes_on_as_it_was() {
        let mut before = record();
        before.rotate(verifier(2), secs(10), T0 + secs(100));
        let (previous, until) = before.previous().unwrap();
        assert_eq!(until, T0 + secs(110));
        let after = StoredCredential::new(before.id(), before.current().clone())
            .with_previous(previous.clone(), until);
        for at in [109, 110] {
            assert_eq!(good(&after, T0 + secs(at)), good(&before, T0 + secs(at)));
        }
    }

    #[test]
    fn w22_w31_times_are_the_gateways_with_a_minute_of_leeway() {
        let record = record().valid_between(Some(T0 + secs(1000)), Some(T0 + secs(2000)));
        let is_good = |at| record.candidates(T0 + secs(at))[0].is_some();
        assert_eq!([939, 940, 2060, 2061].map(is_good), [false, true, true, false]);
        assert_eq!([86_400, 0].map(is_good), [false, false]);
    }

    #[test]
    fn w22_a_revoked_credential_is_like_one_that_never_was() {
        let mut record = record();
        record.rotate(verifier(2), secs(10), T0);
        record.revoke();
        assert!(good(&record, T0).is_empty());
    }

    #[test]
    fn w18_failures_after_the_fifth_wait_longer_and_longer() {
        let delays = [0, 5, 6, 7, 8, 14, 15, u32::MAX].map(|failures| failure_delay(failures).as_millis());
        assert_eq!(delays, [0, 0, 100, 200, 400, 25_600, 30_000, 30_000]);
    }
}
