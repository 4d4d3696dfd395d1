//! The proof that a name is owned.

use core::fmt;

use crate::{TunnelName, TunnelNameRef};

/// The proof that somebody owns a name: only a registry makes one, when the store has taken it.
///
/// A function that must not be called for other people's names asks for a claim. It can't be copied, and it grows old: each
/// claim of a name has a higher [`Generation`] than all before, and whoever holds routes drops those of a lower one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    name: TunnelName,
    owner: OwnerId,
    generation: Generation,
}

impl Claim {
    pub(super) fn new(name: TunnelName, owner: OwnerId, generation: Generation) -> Self {
        Self { name, owner, generation }
    }

    /// The name.
    pub fn name(&self) -> TunnelNameRef<'_> {
        self.name.borrowed()
    }

    /// Who owns it.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Which claim of the name this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Gives the name away and ends the proof.
    pub fn into_name(self) -> TunnelName {
        self.name
    }
}

/// How often a name has been claimed or restored: a later claim has a higher one, always. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u64);

impl Generation {
    /// Before the first claim.
    pub const NONE: Self = Self(0);

    /// The generation with this number, from a database or the wire.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(super) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who owns names: an organisation or an account, by an id of 128 bits, such as a UUID. Opaque here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(u128);

impl OwnerId {
    /// The owner with this id.
    pub const fn from_u128(id: u128) -> Self {
        Self(id)
    }

    /// The id.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerId({:032x})", self.0)
    }
}
