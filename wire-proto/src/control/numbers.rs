//! Ids and open values of control messages.

use crate::open::open_numbers;
use std::num::NonZeroU64;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The lowest one.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// The id with this number; `None` for 0, which stands for "none" on the wire.
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number as it stands on the wire.
            pub const fn as_u64(self) -> u64 {
                self.0.get()
            }

            /// The next one; `None` at the end of the numbers.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

ids! {
    /// Names a registration in requests and stream heads. The gateway chooses it and never uses it twice.
    RegistrationId;
    /// Fences a registration: of two for one tunnel, the one with the higher generation holds it.
    Generation;
    /// Numbers a request of the agent, from 1, strictly rising.
    RequestNumber;
}

open_numbers! {
    /// Who ends TLS.
    TlsMode {
        /// Not said: the gateway takes what fits the protocol.
        UNSPECIFIED = 0;
        /// The gateway.
        EDGE = 1;
        /// The agent, with a key that never leaves it.
        PASSTHROUGH = 2;
        /// Nobody: there is no TLS.
        NONE = 3;
    }
}

open_numbers! {
    /// Who may visit.
    AuthMode {
        /// Not said: the gateway's default.
        UNSPECIFIED = 0;
        /// Everybody.
        OPEN = 1;
        /// Those who present the tunnel's visitor token.
        AUTHENTICATED = 2;
    }
}

open_numbers! {
    /// From where a tunnel is reached.
    Visibility {
        /// Not said: public.
        UNSPECIFIED = 0;
        /// At public addresses.
        PUBLIC = 1;
        /// By other agents only.
        PRIVATE = 2;
    }
}

open_numbers! {
    /// What state a tunnel is in.
    TunnelStatus {
        /// Not said.
        UNSPECIFIED = 0;
        /// Visitors are let through.
        ACTIVE = 1;
        /// Passthrough without a certificate yet: the agent is to send a CSR.
        AWAITING_CERT = 2;
        /// Visitors are turned away until it is resumed.
        PAUSED = 3;
        /// Deleted, but can be restored.
        DELETE_PENDING = 4;
        /// Deleted for good.
        DELETED = 5;
    }
}

open_numbers! {
    /// What an agent's proof is bound to.
    Binding {
        /// Nothing but the gateway's challenge.
        NONE = 0;
        /// The TLS exporter of RFC 9266.
        TLS_EXPORTER = 1;
    }
}
