//! Who may open whose private tunnel: nobody but its owner, until it is said otherwise.

use adit_errors::{Code, Refusal};
use adit_naming::ownership::OwnerId;

/// An organisation, as far as the one who runs the gateway has such: a set of owners that may see each other's tunnels if
/// these say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganisationId(u128);

impl OrganisationId {
    /// The organisation with this number.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// An agent that wants to reach a tunnel, as its credential proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    owner: OwnerId,
    organisation: Option<OrganisationId>,
}

impl Viewer {
    /// An agent of this owner, in no organisation.
    #[must_use]
    pub const fn new(owner: OwnerId) -> Self {
        Self { owner, organisation: None }
    }

    /// The same as a member of an organisation.
    #[must_use]
    pub const fn member_of(self, organisation: OrganisationId) -> Self {
        Self { organisation: Some(organisation), ..self }
    }
}

/// To whom one tunnel is visible besides its owner: to nobody, unless granted.
///
/// Keep it with the tunnel's facts and publish a changed copy: a revocation then holds for every lookup from there on.
/// Streams that are open already are the gateway's to close; [`decide`](Self::decide) tells which.
///
/// ```
/// use adit_naming::ownership::OwnerId;
/// use adit_router::{OrganisationId, Viewer, Visibility};
///
/// let (owner, guest) = (OwnerId::from_u128(1), Viewer::new(OwnerId::from_u128(2)));
/// let mut visibility = Visibility::of(owner);
/// assert!(Visibility::decide(Some(&visibility), guest).is_err());
/// visibility.grant(OwnerId::from_u128(2)).unwrap();
/// assert!(Visibility::decide(Some(&visibility), guest).is_ok());
///
/// // To the whole organisation.
/// let home = OrganisationId::from_u128(7);
/// let colleague = Viewer::new(OwnerId::from_u128(3)).member_of(home);
/// assert!(Visibility::decide(Some(&visibility), colleague).is_err());
/// visibility.grant_organisation(home);
/// assert!(Visibility::decide(Some(&visibility), colleague).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibility {
    owner: OwnerId,
    organisation: Option<OrganisationId>,
    /// Sorted, without doubles; at most [`MAX_VIEWERS`](Self::MAX_VIEWERS).
    viewers: Vec<OwnerId>,
}

impl Visibility {
    /// How many owners a tunnel can be made visible to, one by one.
    pub const MAX_VIEWERS: usize = (1 << STEPS) - 1;

    /// Visible to its owner alone.
    #[must_use]
    pub const fn of(owner: OwnerId) -> Self {
        Self { owner, organisation: None, viewers: Vec::new() }
    }

    /// Makes the tunnel visible to the agents of `viewer`. Granting twice is granting once.
    ///
    /// # Errors
    /// [`VisibilityError`]; nothing is changed then.
    pub fn grant(&mut self, viewer: OwnerId) -> Result<(), VisibilityError> {
        let Err(at) = self.viewers.binary_search(&viewer) else { return Ok(()) };
        if self.viewers.len() >= Self::MAX_VIEWERS {
            return Err(VisibilityError::TooManyViewers { max_viewers: Self::MAX_VIEWERS });
        }
        self.viewers.insert(at, viewer);
        Ok(())
    }

    /// Takes a viewer's grant back; `false` if there was none. A grant to its organisation stays.
    pub fn revoke(&mut self, viewer: OwnerId) -> bool {
        let found = self.viewers.binary_search(&viewer);
        found.is_ok_and(|at| {
            self.viewers.remove(at);
            true
        })
    }

    /// Makes the tunnel visible to all members of one organisation, the one before it if there was another.
    pub fn grant_organisation(&mut self, organisation: OrganisationId) {
        self.organisation = Some(organisation);
    }

    /// Takes the organisation's grant back; `false` if there was none. Single grants to its members stay.
    pub fn revoke_organisation(&mut self) -> bool {
        self.organisation.take().is_some()
    }

    /// Those to whom the tunnel was made visible one by one, in the order of their numbers.
    pub fn viewers(&self) -> &[OwnerId] {
        &self.viewers
    }

    /// Decides whether `viewer` may reach the tunnel that a lookup found; `None` if it found none.
    ///
    /// A tunnel that doesn't exist and one that can't be seen get the same answer for the same work: a fixed number of
    /// comparisons, whatever was found and however many grants there are. So nobody learns by trying which names exist.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn decide(found: Option<&Self>, viewer: Viewer) -> Result<(), Unreachable> {
        let visibility = found.unwrap_or(&NOBODY);
        let is_member = visibility.organisation.is_some() && visibility.organisation == viewer.organisation;
        let is_granted = contains(&visibility.viewers, viewer.owner, &mut |ours, theirs| ours <= theirs);
        let is_owner = visibility.owner == viewer.owner;
        // Not `||`: which of them holds is no matter of time either.
        let is_visible = is_owner | is_member | is_granted;
        if found.is_some() & is_visible { Ok(()) } else { Err(Unreachable {}) }
    }
}

/// There is no such tunnel, or none that this viewer may see: which one, nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such tunnel")]
#[non_exhaustive]
pub struct Unreachable {}

/// A tunnel could not be made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VisibilityError {
    /// As many viewers as a tunnel may have; revoke some, or grant it to an organisation.
    #[error("a tunnel is visible to at most {max_viewers} owners one by one")]
    TooManyViewers {
        /// The bound.
        max_viewers: usize,
    },
}

impl From<&Unreachable> for Refusal {
    fn from(_: &Unreachable) -> Self {
        Self::from(Code::NOT_FOUND)
    }
}

impl From<&VisibilityError> for Refusal {
    fn from(error: &VisibilityError) -> Self {
        Self::new(Code::QUOTA_EXCEEDED, error.to_string())
    }
}

/// A search that makes `STEPS` comparisons and one more, whatever `viewers` are.
fn contains(
    viewers: &[OwnerId],
    wanted: OwnerId,
    is_at_most: &mut impl FnMut(OwnerId, OwnerId) -> bool,
) -> bool {
    let at = |index: usize| viewers.get(index).copied().unwrap_or(LAST);
    // How many are at most `wanted`, found bit by bit.
    let count = (0..STEPS).rev().fold(0usize, |count, bit| {
        let step = 1 << bit;
        if is_at_most(at(count + step - 1), wanted) & (count + step <= viewers.len()) {
            count + step
        } else {
            count
        }
    });
    let nearest = viewers.get(count.wrapping_sub(1)).copied().unwrap_or(LAST);
    (nearest == wanted) & (count > 0)
}

/// What stands for a tunnel that doesn't exist.
static NOBODY: Visibility = Visibility::of(LAST);

const LAST: OwnerId = OwnerId::from_u128(u128::MAX);
const STEPS: u32 = 10;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tunnel_is_invisible_to_all_but_its_owner_by_default() {
        let visibility = Visibility::of(owner(1));
        assert_eq!(Visibility::decide(Some(&visibility), Viewer::new(owner(1))), Ok(()));
        let stranger = Viewer::new(owner(2)).member_of(OrganisationId::from_u128(7));
        assert_eq!(Visibility::decide(Some(&visibility), stranger), Err(Unreachable {}));
        assert_eq!(Visibility::decide(Some(&visibility), Viewer::new(owner(2))), Err(Unreachable {}));
    }

    #[test]
    fn unknown_and_invisible_are_answered_alike_for_the_same_work() {
        let visibility = Visibility::of(owner(1));
        let invisible = Visibility::decide(Some(&visibility), Viewer::new(owner(2))).unwrap_err();
        let unknown = Visibility::decide(None, Viewer::new(owner(2))).unwrap_err();
        assert_eq!(Refusal::from(&invisible), Refusal::from(&unknown));
        assert_eq!(Refusal::from(&unknown).status(), 404);
        for granted in [0, 1, 2, 500, 1023] {
            let viewers: Vec<_> = (0..granted).map(|number| owner(number * 2)).collect();
            for wanted in [0, 1, 500, 2044, 5000] {
                let mut compared = 0;
                let found = contains(&viewers, owner(wanted), &mut |ours, theirs| {
                    compared += 1;
                    ours <= theirs
                });
                assert_eq!((compared, found), (STEPS, wanted % 2 == 0 && wanted / 2 < granted));
            }
        }
    }

    #[test]
    fn nobody_is_the_owner_of_a_tunnel_that_does_not_exist() {
        assert_eq!(Visibility::decide(None, Viewer::new(LAST)), Err(Unreachable {}));
    }

    #[test]
    fn a_revoked_grant_holds_no_longer_and_others_stay() {
        let home = OrganisationId::from_u128(7);
        let guest = Viewer::new(owner(2)).member_of(home);
        let mut visibility = Visibility::of(owner(1));
        visibility.grant(owner(2)).unwrap();
        visibility.grant_organisation(home);
        assert!(visibility.revoke(owner(2)) && !visibility.revoke(owner(2)));
        assert_eq!(Visibility::decide(Some(&visibility), guest), Ok(()), "by the organisation");
        assert!(visibility.revoke_organisation() && !visibility.revoke_organisation());
        assert_eq!(Visibility::decide(Some(&visibility), guest), Err(Unreachable {}));
    }

    #[test]
    fn viewers_are_bounded() {
        let mut visibility = Visibility::of(owner(0));
        for number in 0..1023 {
            visibility.grant(owner(number)).unwrap();
        }
        let refused = visibility.grant(owner(5000)).unwrap_err();
        assert_eq!(refused, VisibilityError::TooManyViewers { max_viewers: 1023 });
        assert_eq!(visibility.grant(owner(5)), Ok(()), "granted already");
    }

    proptest! {
        #[test]
        fn grants_agree_with_a_set(changes in prop::collection::vec((any::<bool>(), 0u128..40), 0..80)) {
            let mut model = BTreeSet::new();
            let mut visibility = Visibility::of(owner(1_000));
            for (is_grant, number) in changes {
                if is_grant {
                    visibility.grant(owner(number)).unwrap();
                    model.insert(number);
                } else {
                    prop_assert_eq!(visibility.revoke(owner(number)), model.remove(&number));
                }
            }
            for number in 0..40 {
                let decided = Visibility::decide(Some(&visibility), Viewer::new(owner(number)));
                prop_assert_eq!(decided.is_ok(), model.contains(&number));
            }
        }
    }

    fn owner(number: u128) -> OwnerId {
        OwnerId::from_u128(number)
    }
}
