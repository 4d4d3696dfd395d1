//! Domains that tenants bring along.

use alloc::boxed::Box;

use thiserror::Error;

use crate::{
    label::{LabelError, LabelRef},
    zone::{MAX_DOMAIN, ends_in_number},
};

/// A domain that a tenant brought along, in canonical form: two labels at least, lower case, letters, digits and inner
/// hyphens, at most 253 octets, no trailing dot.
///
/// A domain with letters beyond ASCII is kept and compared in its A-label form (`xn--…`, RFC 5890 §2.3.2.1) and never
/// decoded on the way of a request. That the tenant may use it (that it points here, that it is no public suffix) is for
/// the gateway to check before it registers the domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomDomain(Box<str>);

impl CustomDomain {
    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// As [`CustomDomainRef::parse`].
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        CustomDomainRef::parse(text).map(CustomDomainRef::to_owned)
    }

    /// The borrowed form.
    pub fn borrowed(&self) -> CustomDomainRef<'_> {
        CustomDomainRef(&self.0)
    }

    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

owned_text!(CustomDomain, DomainError);

/// A borrowed [`CustomDomain`]; parsing one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomDomainRef<'a>(&'a str);

impl<'a> CustomDomainRef<'a> {
    /// Checks `text` and borrows it.
    ///
    /// # Errors
    /// [`DomainError`], which says which rule is broken and where.
    pub fn parse(text: &'a str) -> Result<Self, DomainError> {
        if text.len() > MAX_DOMAIN {
            return Err(DomainError::TooLong { length: text.len() });
        }
        let mut at = 0;
        for label in text.split('.') {
            check_label(label, at)?;
            at += label.len() + 1;
        }
        if !text.contains('.') {
            return Err(DomainError::SingleLabel {});
        }
        if ends_in_number(text) {
            return Err(DomainError::EndsInNumber {});
        }
        Ok(Self(text))
    }

    /// Takes the canonical domain of a host that has a dot and doesn't end in a number.
    ///
    /// Hosts were checked byte by byte already; what is left are underscores and reserved hyphens, and plain ones have none.
    pub(crate) fn of_host(domain: &'a str, is_plain: bool) -> Option<Self> {
        if !is_plain && (domain.contains('_') || domain.split('.').any(has_reserved_hyphens)) {
            return None;
        }
        debug_assert!(Self::parse(domain).is_ok());
        Some(Self(domain))
    }

    /// A copy that owns its text.
    pub fn to_owned(self) -> CustomDomain {
        CustomDomain(self.0.into())
    }

    /// The domain as text.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

borrowed_text!(CustomDomainRef, CustomDomain, DomainError);

/// Why a text is no [`CustomDomain`]. Positions count bytes from zero.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DomainError {
    /// More than 253 octets.
    #[error("the domain has {length} octets, 253 are the most")]
    TooLong {
        /// Octets found.
        length: usize,
    },
    /// One of its labels is none; also where it begins or ends with a dot.
    #[error("the label at byte {at} of the domain is not valid: {source}")]
    Label {
        /// Where the label begins.
        at: usize,
        /// What is wrong with it.
        source: LabelError,
    },
    /// A label with hyphens as third and fourth octet that doesn't begin with `xn` (RFC 5890 §2.3.1).
    #[error("the label at byte {at} of the domain has a reserved form")]
    ReservedHyphens {
        /// Where the label begins.
        at: usize,
    },
    /// One label only, such as `localhost`.
    #[error("the domain has a single label")]
    SingleLabel {},
    /// The last label is a number, as in an IP address.
    #[error("the last label of the domain is a number")]
    EndsInNumber {},
}

fn check_label(label: &str, at: usize) -> Result<(), DomainError> {
    LabelRef::parse(label).map_err(|source| DomainError::Label { at, source })?;
    if has_reserved_hyphens(label) {
        return Err(DomainError::ReservedHyphens { at });
    }
    Ok(())
}

fn has_reserved_hyphens(label: &str) -> bool {
    label.as_bytes().get(2..4) == Some(b"--") && !label.starts_with("xn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_domains_are_canonical() {
        for text in ["shop.example", "a.b.c.d", "xn--bcher-kva.example", "1.example"] {
            assert_eq!(CustomDomain::parse(text).unwrap(), text);
        }
        assert_eq!(CustomDomain::parse("localhost"), Err(DomainError::SingleLabel {}));
        assert_eq!(CustomDomain::parse("192.0.2.1"), Err(DomainError::EndsInNumber {}));
        assert_eq!(
            CustomDomain::parse("bq--abwhky3f6fxq.example"),
            Err(DomainError::ReservedHyphens { at: 0 })
        );
        let long = ["abcdefg."; 32].concat();
        assert_eq!(CustomDomain::parse(&long), Err(DomainError::TooLong { length: 256 }));
        for text in ["", ".", "a.", ".a", "a..b", "A.example", "a_b.example", "*.example", "a.example:80"] {
            assert!(matches!(CustomDomain::parse(text), Err(DomainError::Label { .. })), "{text}");
        }
    }
}
