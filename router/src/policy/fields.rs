//! Fields that an owner sets or removes, on the way to the upstream and back.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::PolicyError;

/// Fields to set and to remove. A field that is set replaces what was there; removal comes first.
///
/// Fields that decide where a message goes, where it ends or who is speaking are not for rules: they belong to the
/// gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRules {
    /// At most [`MAX_FIELDS`](Self::MAX_FIELDS), as is `remove`.
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl FieldRules {
    /// The most fields that are set, and the most that are removed.
    pub const MAX_FIELDS: usize = 32;
    /// The longest value, in bytes.
    pub const MAX_VALUE_BYTES: usize = 4096;

    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field.
    ///
    /// # Errors
    /// [`PolicyError::Field`] for a field of the gateway's, or what is none.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, PolicyError> {
        let refused = PolicyError::Field { max_fields: Self::MAX_FIELDS };
        let value = HeaderValue::from_str(value).map_err(|_| refused)?;
        if self.set.len() >= Self::MAX_FIELDS || value.len() > Self::MAX_VALUE_BYTES {
            return Err(refused);
        }
        self.set.push((field(name)?, value));
        Ok(self)
    }

    /// Removes a field.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn remove(mut self, name: &str) -> Result<Self, PolicyError> {
        if self.remove.len() >= Self::MAX_FIELDS {
            return Err(PolicyError::Field { max_fields: Self::MAX_FIELDS });
        }
        self.remove.push(field(name)?);
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

fn field(name: &str) -> Result<HeaderName, PolicyError> {
    let refused = PolicyError::Field { max_fields: FieldRules::MAX_FIELDS };
    let name = name.parse::<HeaderName>().map_err(|_| refused)?;
    let text = name.as_str();
    let is_ours = OURS.contains(&name) || OUR_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    if is_ours { Err(refused) } else { Ok(name) }
}

const OURS: [HeaderName; 14] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::FORWARDED,
    header::VIA,
    header::ALT_SVC,
    // Whose domain a cookie may be for is checked before the rules.
    header::SET_COOKIE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

const OUR_PREFIXES: [&str; 5] = ["x-forwarded-", "x-adit-", "x-real-", "proxy-", "sec-websocket-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_replaces_and_what_is_removed_goes() {
        let rules = FieldRules::new().remove("X-Debug").unwrap().set("X-Env", "staging").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-debug", "1"), ("x-debug", "2"), ("x-env", "a"), ("x-env", "b"), ("accept", "*/*")]
        {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        rules.apply(&mut headers);
        assert_eq!(headers.get_all("x-env").iter().collect::<Vec<_>>(), ["staging"]);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn what_belongs_to_the_gateway_is_not_for_rules() {
        for name in [
            "Host",
            "content-length",
            "X-Forwarded-For",
            "x-adit-authorization",
            "Connection",
            "set-cookie",
            "a b",
            "",
        ] {
            assert!(FieldRules::new().set(name, "x").is_err(), "{name}");
            assert!(FieldRules::new().remove(name).is_err(), "{name}");
        }
        assert!(FieldRules::new().set("x-env", "a\r\nb").is_err());
    }
}
