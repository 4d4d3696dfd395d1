//! Everything that is asked of a new name before a registry sees it.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

use thiserror::Error;

use crate::{NameError, PortPrefix, ReservedNames, Skeleton, TunnelName, TunnelNameRef};

/// What a gateway asks of a new name: its form, that it can be reached, that it isn't reserved, doesn't look reserved,
/// and passes your own filter. In this order; the first "no" is the answer.
///
/// ```
/// use adit_naming::{NameRefusal, NameRules};
///
/// let rules = NameRules::default();
/// assert_eq!(rules.admit("my-app").unwrap(), "my-app");
/// let Err(NameRefusal::Invalid { suggestion, .. }) = rules.admit("My--App_") else { panic!() };
/// assert_eq!(suggestion.unwrap(), "my-app");
/// assert!(matches!(rules.admit("admin"), Err(NameRefusal::Reserved { .. })));
/// ```
#[derive(Clone)]
pub struct NameRules {
    reserved: ReservedNames,
    port_keys: bool,
    look_alikes: bool,
    filter: Option<Arc<dyn WordFilter>>,
}

impl NameRules {
    /// The rules with these reserved names. Names like `3000-x` are refused, look-alikes of reserved names too; there is
    /// no word filter.
    pub fn new(reserved: ReservedNames) -> Self {
        Self { reserved, port_keys: true, look_alikes: true, filter: None }
    }

    /// Whether any of the zones has `{port}-{key}` hosts, which names must stay clear of (case N-07). Default: true.
    pub fn with_port_keys(self, port_keys: bool) -> Self {
        Self { port_keys, ..self }
    }

    /// Whether names that look like a reserved one are refused. Default: true.
    pub fn with_look_alikes(self, look_alikes: bool) -> Self {
        Self { look_alikes, ..self }
    }

    /// The filter for words. Default: none.
    pub fn with_filter(self, filter: impl WordFilter + 'static) -> Self {
        Self { filter: Some(Arc::new(filter)), ..self }
    }

    /// The reserved names.
    pub fn reserved(&self) -> &ReservedNames {
        &self.reserved
    }

    /// Checks a text that somebody wants as a name.
    ///
    /// # Errors
    /// [`NameRefusal`]; for [`NameRefusal::Invalid`] with a suggestion that passes these rules, if there is one.
    pub fn admit(&self, text: &str) -> Result<TunnelName, NameRefusal> {
        match TunnelNameRef::parse(text) {
            Ok(name) => self.check(name).map(|()| name.to_owned()),
            Err(source) => Err(NameRefusal::Invalid { source, suggestion: self.suggest(text) }),
        }
    }

    /// Checks a name that is valid in itself.
    ///
    /// # Errors
    /// [`NameRefusal`], but never [`NameRefusal::Invalid`].
    pub fn check(&self, name: TunnelNameRef<'_>) -> Result<(), NameRefusal> {
        if self.port_keys && PortPrefix::of(name.as_str()).is_some() {
            return Err(NameRefusal::PortPrefix {});
        }
        if self.reserved.contains(name) {
            return Err(NameRefusal::Reserved {});
        }
        if self.look_alikes
            && let Some(like) = self.reserved.look_alike(name)
        {
            return Err(NameRefusal::LooksReserved { like: like.into() });
        }
        match &self.filter {
            Some(filter) if filter.refuses(name, &Skeleton::of_name(name)) => Err(NameRefusal::Filtered {}),
            Some(_) | None => Ok(()),
        }
    }

    /// A name near `text` that passes these rules.
    fn suggest(&self, text: &str) -> Option<TunnelName> {
        TunnelName::suggest(text).filter(|name| self.check(name.borrowed()).is_ok())
    }
}

impl Default for NameRules {
    fn default() -> Self {
        Self::new(ReservedNames::built_in())
    }
}

impl fmt::Debug for NameRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameRules")
            .field("port_keys", &self.port_keys)
            .field("look_alikes", &self.look_alikes)
            .field("has_filter", &self.filter.is_some())
            .finish_non_exhaustive()
    }
}

/// Your own "no": against insults, trade marks, or words of phishing pages. A closure of this form is one.
pub trait WordFilter: Send + Sync {
    /// Whether nobody may have `name`. `skeleton` is what the name looks like: `paypa1` as `paypal`.
    fn refuses(&self, name: TunnelNameRef<'_>, skeleton: &Skeleton) -> bool;
}

impl<F> WordFilter for F
where
    F: Fn(TunnelNameRef<'_>, &Skeleton) -> bool + Send + Sync,
{
    fn refuses(&self, name: TunnelNameRef<'_>, skeleton: &Skeleton) -> bool {
        self(name, skeleton)
    }
}

/// Why a name can't be had by anybody. That somebody else has it is another matter: see
/// [`ClaimRefusal`](crate::ownership::ClaimRefusal).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameRefusal {
    /// The text is no name. Correct it and ask again.
    #[error("{source}")]
    Invalid {
        /// Which rule is broken, and where.
        source: NameError,
        /// A name near the text that passes the rules; whether it is free is not known.
        suggestion: Option<TunnelName>,
    },
    /// It begins like the host of a port, so it couldn't be reached. Choose another.
    #[error("a name can't begin with a port number and a hyphen")]
    PortPrefix {},
    /// It is reserved. Choose another.
    #[error("this name is reserved")]
    Reserved {},
    /// It looks like a reserved one. Choose another.
    #[error("this name looks like the reserved name {like}")]
    LooksReserved {
        /// The reserved name.
        like: Box<str>,
    },
    /// The word filter refused it. Choose another.
    #[error("this name can't be used")]
    Filtered {},
}

impl NameRefusal {
    /// The code of the refusal: `VALIDATION_FAILED` if the form is wrong, `SUBDOMAIN_RESERVED` if nobody may have it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::PortPrefix {} => "VALIDATION_FAILED",
            Self::Reserved {} | Self::LooksReserved { .. } | Self::Filtered {} => "SUBDOMAIN_RESERVED",
        }
    }

    /// All rules, as [`NameRefusal::rule`] names them.
    pub const RULES: &'static [&'static str] =
        &["invalid", "port_prefix", "reserved", "looks_reserved", "filtered"];

    /// The name of the rule that is broken, the same in every language: what `vectors/reserved.json` calls it. For an
    /// invalid name, [`NameError::rule`] says more.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::PortPrefix {} => "port_prefix",
            Self::Reserved {} => "reserved",
            Self::LooksReserved { .. } => "looks_reserved",
            Self::Filtered {} => "filtered",
        }
    }

    /// A name to offer instead.
    pub fn suggestion(&self) -> Option<TunnelNameRef<'_>> {
        match self {
            Self::Invalid { suggestion, .. } => suggestion.as_ref().map(TunnelName::borrowed),
            Self::PortPrefix {} | Self::Reserved {} | Self::LooksReserved { .. } | Self::Filtered {} => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n07_port_prefix_names_are_refused() {
        let rules = NameRules::default();
        assert_eq!(rules.admit("3000-x"), Err(NameRefusal::PortPrefix {}));
        assert_eq!(rules.admit("3000-x").unwrap_err().code(), "VALIDATION_FAILED");
        assert!(rules.clone().with_port_keys(false).admit("3000-x").is_ok());
        assert!(rules.admit("x-3000").is_ok());
    }

    #[test]
    fn n12_reserved_has_a_code_of_its_own() {
        let rules = NameRules::default();
        assert_eq!(rules.admit("admin"), Err(NameRefusal::Reserved {}));
        assert_eq!(rules.admit("adm1n"), Err(NameRefusal::LooksReserved { like: "admin".into() }));
        for text in ["admin", "adm1n"] {
            assert_eq!(rules.admit(text).unwrap_err().code(), "SUBDOMAIN_RESERVED");
        }
        assert!(rules.with_look_alikes(false).admit("adm1n").is_ok());
    }

    #[test]
    fn suggestions_pass_the_rules_they_come_from() {
        let rules = NameRules::default();
        let suggested = |text: &str| rules.admit(text).unwrap_err().suggestion().map(TunnelNameRef::to_owned);
        assert_eq!(suggested("My App").unwrap(), "my-app");
        assert_eq!(suggested("ADMIN"), None, "the repaired name is reserved");
        assert_eq!(suggested("3000_X"), None, "the repaired name begins with a port");
        assert_eq!(suggested("a"), None);
    }

    #[test]
    fn the_filter_sees_the_name_and_what_it_looks_like() {
        let filter = |name: TunnelNameRef<'_>, skeleton: &Skeleton| {
            name.as_str().contains("spam") || skeleton.as_str().contains("paypal")
        };
        let rules = NameRules::default().with_filter(filter);
        for text in ["spam-bot", "pay-pa1-team"] {
            assert_eq!(rules.admit(text), Err(NameRefusal::Filtered {}), "{text}");
            assert_eq!(rules.admit(text).unwrap_err().code(), "SUBDOMAIN_RESERVED");
        }
        assert!(rules.admit("ham-bot").is_ok());
        assert!(alloc::format!("{rules:?}").contains("has_filter: true"));
    }
}
