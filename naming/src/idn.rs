//! Custom domains with letters beyond ASCII.

use alloc::string::String;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use thiserror::Error;

use crate::{CustomDomain, DomainError};

/// With the feature `idn`: domains with letters beyond ASCII, when a tenant registers one and when it is shown.
impl CustomDomain {
    /// Takes a domain as people write it, `bücher.example`, and keeps its A-label form, `xn--bcher-kva.example`.
    ///
    /// ASCII capitals are made small. Everything else must be as UTS #46 leaves it: text that mapping would change, such as
    /// fullwidth letters, is refused, since a domain that looks like ASCII must not become ASCII. Hosts of requests are never
    /// mapped or decoded (case N-17).
    ///
    /// # Errors
    /// [`IdnError`].
    pub fn from_unicode(text: &str) -> Result<Self, IdnError> {
        if text.len() > MAX_INPUT {
            return Err(IdnError::NotIdn {});
        }
        let written = text.to_ascii_lowercase();
        let ascii = Uts46::new()
            .to_ascii(written.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| IdnError::NotIdn {})?;
        let domain = Self::parse(&ascii)?;
        // Label by label, each is either in its A-label form already, or exactly what that form stands for.
        let shown = domain.to_unicode();
        let unchanged = written.split('.').count() == ascii.split('.').count()
            && written
                .split('.')
                .zip(ascii.split('.').zip(shown.split('.')))
                .all(|(written, (a, u))| written == a || written == u);
        if unchanged { Ok(domain) } else { Err(IdnError::Mapped {}) }
    }

    /// The domain as people write it; labels that can't be decoded stay in their A-label form.
    ///
    /// For showing beside the A-label form, never for comparing: many scripts have letters that look alike.
    pub fn to_unicode(&self) -> String {
        let (unicode, result) =
            Uts46::new().to_unicode(self.as_str().as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        match result {
            Ok(()) => unicode.into_owned(),
            Err(_) => self.as_str().into(),
        }
    }
}

/// Why a domain with letters beyond ASCII is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdnError {
    /// It breaks the rules of UTS #46, or is too long.
    #[error("the domain is not a valid internationalized domain")]
    NotIdn {},
    /// Mapping would change it: write it in its plain, lower-case form.
    #[error("the domain has characters that stand for others, such as fullwidth letters")]
    Mapped {},
    /// Its A-label form is no custom domain.
    #[error(transparent)]
    Domain {
        /// Why.
        #[from]
        source: DomainError,
    },
}

/// The most bytes worth converting: 253 octets of A-labels are fewer characters, of at most four bytes.
const MAX_INPUT: usize = 253 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_kept_as_a_labels_and_shown_as_written() {
        for (text, ascii) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("Bücher.Example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("例え.test", "xn--r8jz45g.test"),
            ("plain.example", "plain.example"),
        ] {
            let domain = CustomDomain::from_unicode(text).unwrap();
            assert_eq!(domain, ascii, "{text}");
            assert_eq!(CustomDomain::from_unicode(&domain.to_unicode()).unwrap(), domain);
        }
        assert_eq!(CustomDomain::parse("xn--bcher-kva.example").unwrap().to_unicode(), "bücher.example");
        assert_eq!(
            CustomDomain::parse("xn--a.example").unwrap().to_unicode(),
            "xn--a.example",
            "decodes to nothing"
        );
    }

    #[test]
    fn n17_labels_that_only_pretend_to_be_encoded_are_refused() {
        // RUSTSEC-2024-0421: Punycode that decodes to ASCII, or to nothing.
        for text in ["xn--example-.test", "xn--.test", "xn--a-.test", "XN--EXAMPLE-.test", "xn--0000h.test"] {
            assert!(CustomDomain::from_unicode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn n08_what_mapping_would_turn_into_ascii_is_refused() {
        for text in [
            "ｅxample.test",
            "example．test",
            "example。test",
            "\u{212A}.test",
            "ﬁsh.test",
            "①.test",
            "a\u{AD}b.test",
        ] {
            assert!(CustomDomain::from_unicode(text).is_err(), "{text}");
        }
        assert_eq!(CustomDomain::from_unicode(&"ü".repeat(1000)), Err(IdnError::NotIdn {}));
        assert!(matches!(CustomDomain::from_unicode("bücher"), Err(IdnError::Domain { .. })));
    }
}
