//! What every owned piece of checked text has in common: one macro, so that all of them compare, print and parse alike.

/// Implements the common traits of an owned text type that is a tuple struct over `Box<str>` and has an inherent
/// `fn parse(text: &str) -> Result<Self, $error>` and `fn as_str(&self) -> &str`.
macro_rules! owned_text {
    ($type:ident, $error:ident) => {
        impl core::str::FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl core::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        #[cfg(feature = "serde")]
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::text::Visitor::<$type>::new())
            }
        }
    };
}

/// Implements the common traits of a borrowed text type that is a tuple struct over `&str`, and the way to its owned
/// form and back.
macro_rules! borrowed_text {
    ($type:ident, $owned:ident, $error:ident) => {
        impl<'a> TryFrom<&'a str> for $type<'a> {
            type Error = $error;

            fn try_from(text: &'a str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl core::fmt::Display for $type<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $type<'_> {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $type<'_> {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $type<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl From<$type<'_>> for $owned {
            fn from(borrowed: $type<'_>) -> Self {
                borrowed.to_owned()
            }
        }

        impl<'a> From<&'a $owned> for $type<'a> {
            fn from(owned: &'a $owned) -> Self {
                owned.borrowed()
            }
        }
    };
}

/// Reads any text type from a string of whatever lifetime the format offers.
#[cfg(feature = "serde")]
pub(crate) struct Visitor<T>(core::marker::PhantomData<T>);

#[cfg(feature = "serde")]
impl<T> Visitor<T> {
    pub(crate) fn new() -> Self {
        Self(core::marker::PhantomData)
    }
}

#[cfg(feature = "serde")]
impl<T> serde::de::Visitor<'_> for Visitor<T>
where
    T: core::str::FromStr,
    T::Err: core::fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use crate::{
        AgentHandle, CustomDomain, Description, DisplayName, Endpoint, Label, ShareName, TunnelName,
    };

    #[test]
    fn texts_are_strings_in_json_and_are_checked_on_the_way_in() {
        macro_rules! check {
            ($($type:ty: $good:literal, $bad:literal;)+) => {
                $(
                    let value: $type = serde_json::from_str($good).unwrap();
                    assert_eq!(serde_json::to_string(&value).unwrap(), $good);
                    assert!(serde_json::from_str::<$type>($bad).is_err());
                    assert!(serde_json::from_str::<$type>("3000").is_err());
                )+
            };
        }
        check! {
            TunnelName: "\"my-app\"", "\"My-App\"";
            AgentHandle: "\"scout\"", "\"@scout\"";
            Label: "\"a\"", "\"a.b\"";
            CustomDomain: "\"shop.example\"", "\"shop\"";
            DisplayName: "\"Café\"", "\"\"";
            ShareName: "\"Demo\"", "\"\"";
            Description: "\"a\\nb\"", "\"a\\u0000b\"";
            Endpoint: "\"https://my-app.tunnel.example\"", "\"my-app\"";
        }
        let error = serde_json::from_str::<TunnelName>("\"My-App\"").unwrap_err();
        assert!(
            error.is_data()
                && alloc::string::ToString::to_string(&error).contains("capital letter at byte 0")
        );
    }
}
