//! The number by which everything behind the public side knows a tunnel.

use core::fmt;

/// The internal id of a tunnel, 128 bits, such as a UUID. It stays what it is while names and hosts change.
///
/// Never shown to visitors: what they see of it is the key that a `KeyRing` seals it into (feature `keys`).
///
/// ```
/// use adit_naming::TunnelId;
///
/// let id = TunnelId::from_u128(0x2a);
/// assert_eq!(id.to_string(), "0000000000000000000000000000002a");
/// assert_eq!(TunnelId::from_bytes(id.to_bytes()), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(u128);

impl TunnelId {
    /// The id with this value.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The id with these bytes, the most significant first, as `Uuid::into_bytes` gives them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The value.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The bytes, the most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelId({self})")
    }
}
