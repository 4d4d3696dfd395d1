//! Versions of the control protocol.

/// A version of the control protocol, apart from the frame layer's: other carriers have no frame layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlVersion(u32);

impl ControlVersion {
    /// The version that this crate implements.
    pub const V1: Self = Self(1);

    /// The version with this number.
    pub const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number as it stands on the wire.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// The versions that one side speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlVersions {
    least: ControlVersion,
    most: ControlVersion,
}

impl ControlVersions {
    /// What this crate speaks.
    pub const OURS: Self = Self { least: ControlVersion::V1, most: ControlVersion::V1 };

    /// A range; `None` if `least` is above `most`, or 0.
    pub const fn new(least: ControlVersion, most: ControlVersion) -> Option<Self> {
        if least.0 > most.0 || least.0 == 0 { None } else { Some(Self { least, most }) }
    }

    /// The lowest version in it.
    pub const fn least(self) -> ControlVersion {
        self.least
    }

    /// The highest version in it.
    pub const fn most(self) -> ControlVersion {
        self.most
    }

    /// Whether the range holds this version.
    pub fn holds(self, version: ControlVersion) -> bool {
        (self.least..=self.most).contains(&version)
    }

    /// The highest version that both ranges hold.
    pub fn common(self, theirs: Self) -> Option<ControlVersion> {
        let highest = self.most.min(theirs.most);
        (highest >= self.least.max(theirs.least)).then_some(highest)
    }
}
