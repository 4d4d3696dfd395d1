use std::fmt;

/// A connection id of QUIC version 1 or 2: 0 to 20 bytes (RFC 9000 §17.2).
///
/// Compares by length first, then byte for byte. Prints in hex.
///
/// ```
/// use adit_tls_modes::ConnectionId;
///
/// let id = ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0]).unwrap();
/// assert_eq!(id.to_string(), "8394c8f0");
/// assert_eq!(ConnectionId::new(&[0; 21]), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    length: u8,
    /// Invariant: zero from `length` on, so that the derived comparisons are right.
    bytes: [u8; Self::MAX_BYTES],
}

impl ConnectionId {
    /// The longest id of both versions.
    pub const MAX_BYTES: usize = 20;

    /// The id made of `bytes`, or `None` if there are more than 20.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len()).ok()?;
        let mut id = Self { length, bytes: [0; Self::MAX_BYTES] };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    /// The bytes as they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// How many bytes the id has, 0 to 20.
    pub fn len(&self) -> usize {
        self.length.into()
    }

    /// Whether the id has no bytes at all: its owner tells connections apart by address.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_other_length_differ_even_if_padded_alike() {
        let short = ConnectionId::new(&[1, 0]).unwrap();
        let long = ConnectionId::new(&[1, 0, 0]).unwrap();
        assert_ne!(short, long);
        assert_eq!(short.as_bytes(), [1, 0]);
        assert_eq!(ConnectionId::new(&[7; 20]).unwrap().as_bytes(), [7; 20]);
        assert!(ConnectionId::new(&[]).unwrap().is_empty());
    }
}
