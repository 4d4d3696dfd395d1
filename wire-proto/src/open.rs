//! Numbers that peers may extend.

/// Defines a newtype over the wire's `i32` with named values, which keeps the numbers that it doesn't know.
macro_rules! open_numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal;)* }) => {
        $(#[$doc])*
        ///
        /// An open value: numbers that this version doesn't know survive decoding and encoding.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i32);

        impl $name {
            $($(#[$value_doc])* pub const $value: Self = Self($number);)*

            /// Every value with a name, in order of its number.
            pub const NAMED: &'static [(Self, &'static str)] = &[$((Self::$value, stringify!($value)),)*];

            /// The value with this number, known or not.
            pub const fn from_i32(number: i32) -> Self {
                Self(number)
            }

            /// The number as it stands on the wire.
            pub const fn as_i32(self) -> i32 {
                self.0
            }

            /// The name that the specification gives, if this version knows one.
            pub fn name(self) -> Option<&'static str> {
                Self::NAMED.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }
    };
}

pub(crate) use open_numbers;
