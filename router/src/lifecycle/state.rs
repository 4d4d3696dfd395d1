//! The life of a tunnel as a table: no clock, no store, no agent.

use std::time::{Duration, SystemTime};

use adit_errors::{Code, Refusal};

/// Where a tunnel is in its life.
///
/// ```text
///                 certify              pause
///  AwaitingCert ───────────▶ Active ◀─────────▶ Paused
///       │                      │     resume       │
///       │                      │                  │
///       └──── delete or the time to live ends ────┘
///                              ▼        restore: back to what it was
///                        DeletePending ───────────────▶ (within the grace)
///                              │
///                              │ grace ends, or force-delete
///                              ▼
///                           Deleted
/// ```
///
/// What each command does in each state; a command that is refused changes nothing:
///
/// | | certify | pause | resume | delete | restore | force-delete | tick |
/// |---|---|---|---|---|---|---|---|
/// | `AwaitingCert` | `Active` | refused | refused | `DeletePending` | refused | refused | stays, or expires |
/// | `Active` | renewed | `Paused` | stays | `DeletePending` | refused | refused | stays, or expires |
/// | `Paused` | renewed | stays | `Active` | `DeletePending` | refused | refused | stays, or expires |
/// | `DeletePending` | refused | refused | refused | stays | what it was | `Deleted` | stays, or `Deleted` |
/// | `Deleted` | gone | gone | gone | gone | gone | gone | stays |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a tunnel is in one of these states; whoever matches must decide for each"
)]
pub enum State {
    /// Provisioned in passthrough mode, and no certificate was signed yet.
    AwaitingCert,
    /// Routable.
    Active,
    /// Not accepting visitors, by its owner's wish.
    Paused,
    /// Deleted, but restorable. No visitor gets in.
    DeletePending {
        /// What it becomes again if it is restored.
        was: Live,
        /// From this moment on it can't be restored.
        until: SystemTime,
        /// Whether its time to live had ended; then it can't be restored at all.
        is_expired: bool,
    },
    /// Gone for good.
    Deleted,
}

impl State {
    /// What `command` does at `now`. `None` as event if nothing happened: the command had been carried out before.
    ///
    /// `terms` are the tunnel's times. A clock that steps back keeps what was decided; one that steps forward brings ends
    /// nearer, never undone.
    ///
    /// # Errors
    /// [`StateError`]; the state is unchanged then.
    pub fn after(
        self,
        command: Command,
        now: SystemTime,
        terms: Terms,
    ) -> Result<(Self, Option<Event>), StateError> {
        match self {
            Self::AwaitingCert => live(self, Live::AwaitingCert, command, now, terms),
            Self::Active => live(self, Live::Active, command, now, terms),
            Self::Paused => live(self, Live::Paused, command, now, terms),
            Self::DeletePending { was, until, is_expired } => {
                pending(self, Pending { was, until, is_expired }, command, now)
            }
            Self::Deleted => match command {
                Command::Tick => Ok((self, None)),
                Command::Certify
                | Command::Pause
                | Command::Resume
                | Command::Delete
                | Command::Restore
                | Command::ForceDelete => Err(StateError::Gone {}),
            },
        }
    }

    /// When [`Command::Tick`] has something to do next.
    #[must_use]
    pub fn next_tick(self, terms: Terms) -> Option<SystemTime> {
        match self {
            Self::AwaitingCert | Self::Active | Self::Paused => terms.expires,
            Self::DeletePending { until, .. } => Some(until),
            Self::Deleted => None,
        }
    }
}

/// A state in which a tunnel may be reached, now or after its owner's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "as for the states it is part of")]
pub enum Live {
    /// As [`State::AwaitingCert`].
    AwaitingCert,
    /// As [`State::Active`].
    Active,
    /// As [`State::Paused`].
    Paused,
}

impl From<Live> for State {
    fn from(live: Live) -> Self {
        match live {
            Live::AwaitingCert => Self::AwaitingCert,
            Live::Active => Self::Active,
            Live::Paused => Self::Paused,
        }
    }
}

/// What may be done to a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the table above has a column for each")]
pub enum Command {
    /// A certificate was signed.
    Certify,
    /// Let no visitor in.
    Pause,
    /// Let visitors in again.
    Resume,
    /// Take it down, restorable for the grace.
    Delete,
    /// Undo a delete.
    Restore,
    /// End the grace now. Only for a tunnel that is pending; whoever may do so is for the caller to check.
    ForceDelete,
    /// Time has passed.
    Tick,
}

/// What happened, for webhooks and the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The record was made.
    Created,
    /// Some of its fields were changed.
    Updated,
    /// A certificate was signed, the first or a new one.
    Certified,
    /// It lets no visitor in from now on. Streams that run may finish.
    Paused,
    /// It lets visitors in again.
    Resumed,
    /// It is pending deletion: its streams are to be closed now.
    DeletePending,
    /// Its time to live ended; as `DeletePending`.
    Expired,
    /// A delete was undone.
    Restored,
    /// It is gone: release what it held.
    Deleted,
}

/// The times that decide about a tunnel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a deleted tunnel can be restored; 24 h by default.
    pub(crate) grace: Duration,
    /// When its time to live ends, if it does.
    pub(crate) expires: Option<SystemTime>,
}

impl Terms {
    /// A tunnel restorable for `grace` after a delete, whose time to live ends at `expires`, if it does.
    #[must_use]
    pub fn new(grace: Duration, expires: Option<SystemTime>) -> Self {
        Self { grace, expires }
    }
}

/// A command that the tunnel's state doesn't allow. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It waits for its certificate; sign one first.
    #[error("the tunnel awaits its certificate")]
    AwaitingCert {},
    /// It is pending deletion; restore it first.
    #[error("the tunnel is pending deletion")]
    DeletePending {},
    /// It is not pending deletion, so that there is nothing to restore or to force.
    #[error("the tunnel is not pending deletion")]
    NotPending {},
    /// Its time to live has ended, which a restore doesn't undo.
    #[error("the tunnel's time to live has ended")]
    Expired {},
    /// It is deleted; for whoever asks there is no such tunnel.
    #[error("there is no such tunnel")]
    Gone {},
}

impl From<&StateError> for Refusal {
    fn from(error: &StateError) -> Self {
        match error {
            StateError::AwaitingCert {} => {
                Self::new(Code::CONFLICT, "the tunnel awaits its certificate: sign a CSR first")
            }
            StateError::DeletePending {} | StateError::NotPending {} => {
                Self::new(Code::CONFLICT, error.to_string())
            }
            StateError::Expired {} => Self::from(Code::TUNNEL_EXPIRED),
            StateError::Gone {} => Self::from(Code::NOT_FOUND),
        }
    }
}

type Transition = Result<(State, Option<Event>), StateError>;

fn live(state: State, live: Live, command: Command, now: SystemTime, terms: Terms) -> Transition {
    // What has ended must not be brought back by a command that comes before the tick.
    let is_over = terms.expires.is_some_and(|expires| expires <= now);
    if is_over && command == Command::Tick {
        return Ok((delete_pending(live, now, terms, true), Some(Event::Expired)));
    }
    if is_over && command != Command::Delete {
        return Err(StateError::Expired {});
    }
    match (command, live) {
        (Command::Certify, Live::AwaitingCert) => Ok((State::Active, Some(Event::Certified))),
        (Command::Certify, Live::Active | Live::Paused) => Ok((state, Some(Event::Certified))),
        (Command::Pause | Command::Resume, Live::AwaitingCert) => Err(StateError::AwaitingCert {}),
        (Command::Pause, Live::Active) => Ok((State::Paused, Some(Event::Paused))),
        (Command::Resume, Live::Paused) => Ok((State::Active, Some(Event::Resumed))),
        (Command::Pause, Live::Paused) | (Command::Resume, Live::Active) | (Command::Tick, _) => {
            Ok((state, None))
        }
        (Command::Delete, _) => Ok((delete_pending(live, now, terms, is_over), Some(Event::DeletePending))),
        (Command::Restore | Command::ForceDelete, _) => Err(StateError::NotPending {}),
    }
}

struct Pending {
    was: Live,
    until: SystemTime,
    is_expired: bool,
}

fn pending(state: State, pending: Pending, command: Command, now: SystemTime) -> Transition {
    let is_over = pending.until <= now;
    match command {
        Command::Tick if is_over => Ok((State::Deleted, Some(Event::Deleted))),
        Command::ForceDelete => Ok((State::Deleted, Some(Event::Deleted))),
        Command::Tick | Command::Delete => Ok((state, None)),
        Command::Restore if pending.is_expired => Err(StateError::Expired {}),
        Command::Restore if is_over => Err(StateError::Gone {}),
        Command::Restore => Ok((pending.was.into(), Some(Event::Restored))),
        Command::Certify | Command::Pause | Command::Resume => Err(StateError::DeletePending {}),
    }
}

fn delete_pending(was: Live, now: SystemTime, terms: Terms, is_expired: bool) -> State {
    // A grace beyond what the clock can say is halved until it can: then it ends after all who could ask.
    let graces = std::iter::successors(Some(terms.grace), |grace| Some(*grace / 2));
    let until = graces.take(MAX_HALVINGS).find_map(|grace| now.checked_add(grace)).unwrap_or(now);
    State::DeletePending { was, until, is_expired }
}

/// After so many halves no duration is left.
const MAX_HALVINGS: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints every state against every command and compares with the table that was agreed on.
    #[test]
    fn every_state_against_every_command() {
        let printed: Vec<String> = states().iter().map(|(name, state)| line(name, *state)).collect();
        println!("{}", printed.join("\n"));
        assert_eq!(
            printed,
            [
                "awaiting: Active+Certified | !AwaitingCert | !AwaitingCert | Pending+DeletePending | !NotPending | !NotPending | same",
                "active: same+Certified | Paused+Paused | same | Pending+DeletePending | !NotPending | !NotPending | same",
                "paused: same+Certified | same | Active+Resumed | Pending+DeletePending | !NotPending | !NotPending | same",
                "pending: !DeletePending | !DeletePending | !DeletePending | same | Active+Restored | Deleted+Deleted | same",
                "pending, expired: !DeletePending | !DeletePending | !DeletePending | same | !Expired | Deleted+Deleted | same",
                "pending, over: !DeletePending | !DeletePending | !DeletePending | same | !Gone | Deleted+Deleted | Deleted+Deleted",
                "deleted: !Gone | !Gone | !Gone | !Gone | !Gone | !Gone | same",
            ]
        );
    }

    #[test]
    fn n13_a_restore_works_until_the_second_the_grace_ends() {
        let deleted = State::Active.after(Command::Delete, NOW, TERMS).unwrap().0;
        for (after, is_restored) in [(DAY - 1, true), (DAY, false), (DAY + 1, false)] {
            let now = NOW + Duration::from_secs(after);
            let restored = deleted.after(Command::Restore, now, TERMS);
            assert_eq!(restored.is_ok(), is_restored);
            let ticked = deleted.after(Command::Tick, now, TERMS).unwrap().0;
            assert_eq!(ticked == State::Deleted, !is_restored, "exactly one of restore and deletion wins");
        }
    }

    #[test]
    fn a_grace_that_outlasts_the_clock_is_no_shorter_than_a_long_one() {
        let terms = Terms { grace: Duration::MAX, ..TERMS };
        let deleted = State::Active.after(Command::Delete, NOW, terms).unwrap().0;
        let years_later = NOW + Duration::from_secs(100 * 365 * DAY);
        assert_eq!(deleted.after(Command::Restore, years_later, terms).unwrap().0, State::Active);
    }

    #[test]
    fn a_restore_gives_back_what_was_there() {
        for was in [State::AwaitingCert, State::Active, State::Paused] {
            let deleted = was.after(Command::Delete, NOW, TERMS).unwrap().0;
            assert_eq!(deleted.after(Command::Restore, NOW, TERMS).unwrap().0, was);
        }
    }

    #[test]
    fn when_the_time_to_live_ends_nothing_but_deletion_is_left() {
        let terms = Terms { expires: Some(NOW), ..TERMS };
        for was in [State::AwaitingCert, State::Active, State::Paused] {
            assert_eq!(was.next_tick(terms), Some(NOW));
            for command in [Command::Certify, Command::Pause, Command::Resume] {
                assert_eq!(was.after(command, NOW, terms), Err(StateError::Expired {}));
            }
            let (expired, event) = was.after(Command::Tick, NOW, terms).unwrap();
            assert_eq!(event, Some(Event::Expired));
            assert_eq!(expired.after(Command::Restore, NOW, terms), Err(StateError::Expired {}));
            let end = expired.next_tick(terms).unwrap();
            assert_eq!(end, NOW + TERMS.grace);
            assert_eq!(expired.after(Command::Tick, end, terms).unwrap().0, State::Deleted);
        }
    }

    #[test]
    fn f10_a_clock_that_steps_back_undoes_nothing() {
        let early = NOW - Duration::from_secs(3_600);
        let deleted = State::Active.after(Command::Delete, NOW, TERMS).unwrap().0;
        assert_eq!(deleted.after(Command::Tick, early, TERMS).unwrap(), (deleted, None));
        assert_eq!(State::Deleted.after(Command::Tick, early, TERMS).unwrap(), (State::Deleted, None));
    }

    fn states() -> [(&'static str, State); 7] {
        let pending = |seconds, is_expired| State::DeletePending {
            was: Live::Active,
            until: NOW + Duration::from_secs(seconds),
            is_expired,
        };
        [
            ("awaiting", State::AwaitingCert),
            ("active", State::Active),
            ("paused", State::Paused),
            ("pending", pending(1, false)),
            ("pending, expired", pending(1, true)),
            ("pending, over", pending(0, false)),
            ("deleted", State::Deleted),
        ]
    }

    fn line(name: &str, state: State) -> String {
        let cells: Vec<_> = COMMANDS.iter().map(|command| cell(state, *command)).collect();
        format!("{name}: {}", cells.join(" | "))
    }

    fn cell(state: State, command: Command) -> String {
        match state.after(command, NOW, TERMS) {
            Err(error) => format!("!{error:?}").replace(" {}", ""),
            Ok((after, None)) if after == state => "same".to_owned(),
            Ok((after, event)) => {
                let name = match after {
                    _ if after == state => "same".to_owned(),
                    State::DeletePending { .. } => "Pending".to_owned(),
                    State::AwaitingCert | State::Active | State::Paused | State::Deleted => {
                        format!("{after:?}")
                    }
                };
                let event = event.map_or_else(String::new, |event| format!("+{event:?}"));
                name + &event
            }
        }
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const DAY: u64 = 86_400;
    const TERMS: Terms = Terms { grace: Duration::from_secs(DAY), expires: None };
    const COMMANDS: [Command; 7] = [
        Command::Certify,
        Command::Pause,
        Command::Resume,
        Command::Delete,
        Command::Restore,
        Command::ForceDelete,
        Command::Tick,
    ];
}
