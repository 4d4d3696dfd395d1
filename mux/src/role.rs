//! Which side of the connection this is.

/// Which side of the underlying connection this end is.
///
/// It settles the parity of stream ids and nothing else: either side may open streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Role {
    /// The side that connected; its streams have odd ids, from 1.
    Dialler,
    /// The side that accepted; its streams have even ids, from 2.
    Listener,
}

impl Role {
    /// The id of the first stream that this side opens.
    pub const fn first_id(self) -> u32 {
        match self {
            Self::Dialler => 1,
            Self::Listener => 2,
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dialler => "dialler",
            Self::Listener => "listener",
        }
    }

    /// The other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}
