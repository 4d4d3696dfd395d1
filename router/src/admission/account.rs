//! One credential's account: what it may open, what it has spent, and what is promised but not yet charged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use adit_errors::{Code, Refusal};

use super::month::month_of;
use super::{Budget, Cents};
use crate::TunnelId;

/// What a credential allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    budget: Budget,
    tunnel_quota: usize,
    max_time_to_live: Option<Duration>,
    bandwidth: Option<u64>,
}

impl Grant {
    /// Ten tunnels, without a budget, a bound on their life or their bandwidth.
    #[must_use]
    pub fn new() -> Self {
        Self { budget: Budget::Uncapped, tunnel_quota: 10, max_time_to_live: None, bandwidth: None }
    }

    /// What may be spent in a calendar month (UTC); uncapped unless set.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// How many tunnels may be open at once; 10 unless set. With 0 the credential opens none.
    #[must_use]
    pub fn tunnel_quota(self, tunnel_quota: usize) -> Self {
        Self { tunnel_quota, ..self }
    }

    /// How long a tunnel may live; without a bound unless set.
    #[must_use]
    pub fn max_time_to_live(self, max_time_to_live: Duration) -> Self {
        Self { max_time_to_live: Some(max_time_to_live), ..self }
    }

    /// How many bits a second its tunnels may move together; without a bound unless set. Whoever carries the traffic
    /// keeps to it by a [`Pace`](crate::Pace).
    #[must_use]
    pub fn bandwidth(self, bits_per_second: u64) -> Self {
        Self { bandwidth: Some(bits_per_second), ..self }
    }

    /// The bandwidth in bits a second.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<u64> {
        self.bandwidth
    }

    /// The time to live that a tunnel gets which asks for `wanted`: that, or else the longest allowed.
    ///
    /// # Errors
    /// [`AdmissionError::TimeToLiveTooLong`].
    pub fn time_to_live(&self, wanted: Option<Duration>) -> Result<Option<Duration>, AdmissionError> {
        match (wanted, self.max_time_to_live) {
            (Some(wanted), Some(max)) if wanted > max => Err(AdmissionError::TimeToLiveTooLong { max }),
            (Some(wanted), _) => Ok(Some(wanted)),
            (None, max) => Ok(max),
        }
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a credential's tunnels and money, so that no race spends them twice.
///
/// A registration reserves first, and commits when the tunnel is up. What is reserved counts as spent until it is
/// committed, cancelled, or its lease runs out; a crash in between costs nothing. An open tunnel that registers again
/// (a reconnect) is free.
///
/// ```text
///            reserve                    commit
///   nothing ────────▶ reserved ────────────────────▶ open, charged ────▶ closed (stays charged)
///                        │  cancel, or the lease ends       ▲   │ reserve: free
///                        └────────────▶ nothing             └───┘
/// ```
///
/// Keep it where one writer at a time has it: behind a lock, in a task, or in a database row that is compared and set.
#[derive(Clone, Debug)]
pub struct Account {
    grant: Grant,
    /// Months since the year 0. It never goes back.
    month: u64,
    spent: Cents,
    /// At most one a tunnel, and together with `open` at most the tunnel quota.
    reserved: BTreeMap<TunnelId, Lease>,
    /// At most the tunnel quota at the time each was opened.
    open: BTreeSet<TunnelId>,
    last_serial: u64,
}

impl Account {
    /// An account that has spent nothing.
    #[must_use]
    pub fn new(grant: Grant, now: SystemTime) -> Self {
        Self {
            grant,
            month: month_of(now),
            spent: Cents::ZERO,
            reserved: BTreeMap::new(),
            open: BTreeSet::new(),
            last_serial: 0,
        }
    }

    /// An account that was kept elsewhere: `spent` in the month of `as_of`, with these tunnels open. Nothing is set aside.
    #[must_use]
    pub fn restored(
        grant: Grant,
        spent: Cents,
        as_of: SystemTime,
        open: impl IntoIterator<Item = TunnelId>,
    ) -> Self {
        Self { spent, open: open.into_iter().collect(), ..Self::new(grant, as_of) }
    }

    /// Sets `cost` aside for a tunnel that is about to register, for at most `lease`.
    ///
    /// A reservation that the tunnel had is given up for this one. An open tunnel pays nothing.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing is changed then, but a month that has turned and leases that have run out.
    pub fn reserve(
        &mut self,
        tunnel: TunnelId,
        cost: Cents,
        lease: Duration,
        now: SystemTime,
    ) -> Result<Reservation, AdmissionError> {
        self.advance(now);
        let cost = if self.open.contains(&tunnel) { Cents::ZERO } else { self.check(tunnel, cost)? };
        self.last_serial += 1;
        let serial = self.last_serial;
        self.reserved.insert(tunnel, Lease { serial, cost, until: now.checked_add(lease) });
        Ok(Reservation { tunnel, serial })
    }

    /// Charges a reservation: the tunnel is up. Doing it twice charges once.
    ///
    /// # Errors
    /// [`AdmissionError::Lapsed`] if the lease has run out or another reservation took its place; take the tunnel down.
    pub fn commit(&mut self, reservation: &Reservation, now: SystemTime) -> Result<(), AdmissionError> {
        self.advance(now);
        let lease = self.reserved.get(&reservation.tunnel).filter(|lease| lease.serial == reservation.serial);
        let cost = lease.ok_or(AdmissionError::Lapsed {})?.cost;
        self.reserved.remove(&reservation.tunnel);
        self.spent = self.spent.plus(cost);
        self.open.insert(reservation.tunnel);
        Ok(())
    }

    /// Gives a reservation back: the registration failed. Nothing happens if it was committed or has lapsed.
    pub fn cancel(&mut self, reservation: &Reservation) {
        if self.reserved.get(&reservation.tunnel).is_some_and(|lease| lease.serial == reservation.serial) {
            self.reserved.remove(&reservation.tunnel);
        }
    }

    /// A tunnel is closed for good: there is room for another. What it cost stays spent.
    pub fn close(&mut self, tunnel: TunnelId) {
        self.open.remove(&tunnel);
        self.reserved.remove(&tunnel);
    }

    /// Sets the budget. Tunnels that are open go on, whatever it is now.
    ///
    /// # Errors
    /// [`BudgetError::NotOwner`] unless an owner asks; nothing is changed then.
    pub fn set_budget(&mut self, by: Role, budget: Budget) -> Result<(), BudgetError> {
        match by {
            Role::Owner => {
                self.grant.budget = budget;
                Ok(())
            }
            Role::Member | Role::Agent => Err(BudgetError::NotOwner {}),
        }
    }

    /// What the credential allows.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What was charged in the current month.
    #[must_use]
    pub fn spent(&self) -> Cents {
        self.spent
    }

    /// The tunnels that are open.
    pub fn open(&self) -> impl Iterator<Item = TunnelId> {
        self.open.iter().copied()
    }

    /// How many tunnels are open.
    #[must_use]
    pub fn open_tunnels(&self) -> usize {
        self.open.len()
    }

    fn check(&self, tunnel: TunnelId, cost: Cents) -> Result<Cents, AdmissionError> {
        let others = || self.reserved.iter().filter(|(other, _)| **other != tunnel);
        let promised = others().map(|(_, lease)| lease.cost).fold(cost, Cents::plus);
        if !self.grant.budget.allows(self.spent.plus(promised)) {
            return Err(AdmissionError::BudgetExceeded {});
        }
        // An open tunnel may hold a reservation of its own, for a reconnect: one place, not two.
        let waiting = others().filter(|(other, _)| !self.open.contains(other)).count();
        if self.open.len().saturating_add(waiting) >= self.grant.tunnel_quota {
            return Err(AdmissionError::QuotaExceeded { tunnel_quota: self.grant.tunnel_quota });
        }
        Ok(cost)
    }

    fn advance(&mut self, now: SystemTime) {
        self.reserved.retain(|_, lease| lease.until.is_none_or(|until| now < until));
        // Only forward: a clock that steps back over the turn neither refunds nor turns again (case B-05).
        if month_of(now) > self.month {
            self.month = month_of(now);
            self.spent = Cents::ZERO;
        }
    }
}

/// Money and a place set aside for one registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    tunnel: TunnelId,
    serial: u64,
}

/// Who asks for a change of terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever adds a role must decide what it may do")]
pub enum Role {
    /// An owner of the organisation.
    Owner,
    /// Any other person of the organisation.
    Member,
    /// A credential of the agent transport.
    Agent,
}

/// A registration that is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// The month's budget doesn't reach. An agent stops and asks a person: only an owner can raise it.
    #[error("the budget of this credential is spent or frozen")]
    BudgetExceeded {},
    /// As many tunnels are open as may be: close one.
    #[error("this credential may have {tunnel_quota} tunnels open")]
    QuotaExceeded {
        /// The quota.
        tunnel_quota: usize,
    },
    /// The time to live asked for is longer than allowed.
    #[error("the time to live is longer than the {} seconds allowed", .max.as_secs())]
    TimeToLiveTooLong {
        /// The longest allowed.
        max: Duration,
    },
    /// The reservation is no longer there.
    #[error("the reservation has lapsed")]
    Lapsed {},
}

impl From<&AdmissionError> for Refusal {
    fn from(error: &AdmissionError) -> Self {
        let code = match error {
            AdmissionError::BudgetExceeded {} => Code::BUDGET_EXCEEDED,
            AdmissionError::QuotaExceeded { .. } => Code::QUOTA_EXCEEDED,
            AdmissionError::TimeToLiveTooLong { .. } => Code::TTL_TOO_LONG,
            AdmissionError::Lapsed {} => Code::CONFLICT,
        };
        Self::new(code, error.to_string())
    }
}

/// A budget that was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Whoever asked is no owner.
    #[error("only an owner may change a budget")]
    NotOwner {},
}

impl From<&BudgetError> for Refusal {
    fn from(error: &BudgetError) -> Self {
        Self::new(Code::FORBIDDEN, error.to_string())
    }
}

#[derive(Clone, Debug)]
struct Lease {
    serial: u64,
    cost: Cents,
    /// `None` if the clock has no number for it.
    until: Option<SystemTime>,
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn b01_of_64_parallel_registrations_a_budget_for_10_admits_10() {
        let account = Mutex::new(account(Budget::Capped(Cents::new(1_000))));
        let admitted = Mutex::new(0);
        std::thread::scope(|scope| {
            for number in 0..64 {
                let (account, admitted) = (&account, &admitted);
                scope.spawn(move || {
                    let tunnel = TunnelId::from_u128(number);
                    let reserved = account.lock().unwrap().reserve(tunnel, Cents::new(100), LEASE, NOW);
                    let Ok(reservation) = reserved else { return };
                    std::thread::yield_now();
                    account.lock().unwrap().commit(&reservation, NOW).unwrap();
                    *admitted.lock().unwrap() += 1;
                });
            }
        });
        assert_eq!(*admitted.lock().unwrap(), 10);
        assert_eq!(account.lock().unwrap().spent(), Cents::new(1_000));
    }

    #[test]
    fn b01_in_every_order_of_64_registrations_a_budget_for_10_admits_10() {
        use shuttle::sync::{Arc, Mutex};
        let race = || {
            let account = Arc::new(Mutex::new(account(Budget::Capped(Cents::new(1_000)))));
            let threads: Vec<_> = (0..64)
                .map(|number| {
                    let account = Arc::clone(&account);
                    shuttle::thread::spawn(move || {
                        let tunnel = TunnelId::from_u128(number);
                        // Each lock is a place where another thread may go first.
                        let reserved =
                            { account.lock().unwrap().reserve(tunnel, Cents::new(100), LEASE, NOW) };
                        let Ok(reservation) = reserved else { return 0 };
                        u32::from(account.lock().unwrap().commit(&reservation, NOW).is_ok())
                    })
                })
                .collect();
            let admitted: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(admitted, 10);
            assert_eq!(account.lock().unwrap().spent(), Cents::new(1_000));
        };
        shuttle::check_random(race, 100);
        shuttle::check_pct(race, 50, 3);
    }

    #[test]
    fn b02_a_cap_below_the_spend_refuses_the_next_and_leaves_the_open() {
        let mut account = account(Budget::Uncapped);
        open(&mut account, ONE, 500).unwrap();
        account.set_budget(Role::Owner, Budget::Capped(Cents::new(100))).unwrap();
        let refused = open(&mut account, TWO, 1).unwrap_err();
        assert_eq!(refused, AdmissionError::BudgetExceeded {});
        assert_eq!(Refusal::from(&refused).code(), &Code::BUDGET_EXCEEDED);
        assert_eq!(account.open_tunnels(), 1);
        open(&mut account, ONE, 500).unwrap();
        assert_eq!(account.spent(), Cents::new(500), "a reconnect is free");
    }

    #[test]
    fn b03_a_frozen_budget_refuses_all_and_none_refuses_none() {
        let mut frozen = account(Budget::Frozen);
        assert_eq!(open(&mut frozen, ONE, 0), Err(AdmissionError::BudgetExceeded {}));
        let mut uncapped = account(Budget::Uncapped);
        open(&mut uncapped, ONE, u64::MAX).unwrap();
        open(&mut uncapped, TWO, u64::MAX).unwrap();
    }

    #[test]
    fn b05_the_month_turns_once_whatever_the_clock_does() {
        let mut account = account(Budget::Capped(Cents::new(10)));
        open(&mut account, ONE, 10).unwrap();
        let february = NOW + Duration::from_secs(31 * 86_400);
        let january = february - Duration::from_secs(1);
        assert!(account.clone().reserve(TWO, Cents::new(10), LEASE, january).is_err());
        let reservation = account.reserve(TWO, Cents::new(10), LEASE, february).unwrap();
        account.commit(&reservation, february).unwrap();
        for now in [january, february] {
            let third = account.reserve(TunnelId::from_u128(3), Cents::new(1), LEASE, now);
            assert_eq!(third, Err(AdmissionError::BudgetExceeded {}), "no refund, no second turn");
        }
    }

    #[test]
    fn b06_a_reservation_is_freed_after_its_lease_and_charged_once() {
        let mut account = account(Budget::Capped(Cents::new(10)));
        let crashed = account.reserve(ONE, Cents::new(10), LEASE, NOW).unwrap();
        assert!(account.reserve(TWO, Cents::new(1), LEASE, NOW).is_err(), "what is promised counts");
        assert!(account.reserve(TWO, Cents::new(1), LEASE, NOW + LEASE).is_ok());
        assert_eq!(account.commit(&crashed, NOW + LEASE), Err(AdmissionError::Lapsed {}));

        let again = account.reserve(ONE, Cents::new(9), LEASE, NOW + LEASE).unwrap();
        let reconnected = account.reserve(ONE, Cents::new(9), LEASE, NOW + LEASE).unwrap();
        assert_eq!(account.commit(&again, NOW + LEASE), Err(AdmissionError::Lapsed {}));
        account.commit(&reconnected, NOW + LEASE).unwrap();
        assert!(account.commit(&reconnected, NOW + LEASE).is_err());
        assert_eq!(account.spent(), Cents::new(9));
    }

    #[test]
    fn b07_only_an_owner_changes_a_budget() {
        let mut account = account(Budget::Capped(Cents::new(10)));
        for role in [Role::Agent, Role::Member] {
            let refused = account.set_budget(role, Budget::Uncapped).unwrap_err();
            assert_eq!((refused, Refusal::from(&refused).status()), (BudgetError::NotOwner {}, 403));
            assert_eq!(
                account.grant(),
                &Grant::new().budget(Budget::Capped(Cents::new(10))).tunnel_quota(64)
            );
        }
    }

    #[test]
    fn w25_the_tunnel_quota_counts_what_is_open_and_what_is_reserved() {
        let mut account = Account::new(Grant::new().tunnel_quota(2), NOW);
        open(&mut account, ONE, 1).unwrap();
        let waiting = account.reserve(TWO, Cents::new(1), LEASE, NOW).unwrap();
        let three = TunnelId::from_u128(3);
        assert_eq!(open(&mut account, three, 1), Err(AdmissionError::QuotaExceeded { tunnel_quota: 2 }));
        open(&mut account, ONE, 1).unwrap();
        account.cancel(&waiting);
        open(&mut account, three, 1).unwrap();
        account.close(ONE);
        open(&mut account, TWO, 1).unwrap();
        assert_eq!(account.spent(), Cents::new(3));
    }

    #[test]
    fn a_time_to_live_beyond_the_grant_is_refused() {
        let grant = Grant::new().max_time_to_live(Duration::from_secs(60));
        assert_eq!(grant.time_to_live(None), Ok(Some(Duration::from_secs(60))));
        assert_eq!(grant.time_to_live(Some(Duration::from_secs(60))), Ok(Some(Duration::from_secs(60))));
        let refused = grant.time_to_live(Some(Duration::from_secs(61))).unwrap_err();
        assert_eq!(Refusal::from(&refused).code(), &Code::TTL_TOO_LONG);
    }

    fn open(account: &mut Account, tunnel: TunnelId, cost: u64) -> Result<(), AdmissionError> {
        let reservation = account.reserve(tunnel, Cents::new(cost), LEASE, NOW)?;
        account.commit(&reservation, NOW)
    }

    fn account(budget: Budget) -> Account {
        Account::new(Grant::new().budget(budget).tunnel_quota(64), NOW)
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const LEASE: Duration = Duration::from_secs(30);
    const ONE: TunnelId = TunnelId::from_u128(1);
    const TWO: TunnelId = TunnelId::from_u128(2);
}
