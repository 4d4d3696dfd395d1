//! Handles of agents.

use alloc::boxed::Box;

use crate::{NameError, TunnelName, TunnelNameRef};

/// The handle of an agent, unique over all tenants: the rules are those of a [`TunnelName`], so that the handle can be
/// the name of the agent's tunnel as well.
///
/// People write handles with a leading `@` and with capitals. Looking one up takes both; making one takes them only
/// through [`AgentHandle::parse_folded`], so that nobody gets a handle other than the one typed without having chosen to.
///
/// ```
/// use adit_naming::AgentHandle;
///
/// assert!(AgentHandle::parse("@Scout").is_err());
/// assert_eq!(AgentHandle::parse_folded("@Scout").unwrap(), "scout");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentHandle(Box<str>);

impl AgentHandle {
    /// Checks `text` as it stands: without `@`, lower case.
    ///
    /// # Errors
    /// [`NameError`], as for a tunnel's name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        TunnelNameRef::parse(text).map(|name| Self(name.as_str().into()))
    }

    /// Drops one leading `@` and makes ASCII capitals small: for every lookup, and for creation where that is the
    /// product's choice.
    ///
    /// # Errors
    /// [`NameError`], with positions in the text behind the `@`.
    pub fn parse_folded(text: &str) -> Result<Self, NameError> {
        TunnelName::parse_folded(text.strip_prefix('@').unwrap_or(text))
            .map(|name| Self(name.as_str().into()))
    }

    /// The nearest valid handle to a refused text, as [`TunnelName::suggest`].
    pub fn suggest(text: &str) -> Option<Self> {
        TunnelName::suggest(text).map(|name| Self(name.as_str().into()))
    }

    /// The name that a tunnel of this agent has by default: the same text.
    pub fn as_name(&self) -> TunnelNameRef<'_> {
        TunnelNameRef::assume_valid(&self.0)
    }

    /// The handle as text, without `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

owned_text!(AgentHandle, NameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n02_handles_are_refused_or_folded_by_explicit_choice() {
        assert_eq!(AgentHandle::parse("scout").unwrap(), "scout");
        assert_eq!(AgentHandle::parse("Scout"), Err(NameError::Capital { at: 0 }));
        assert!(matches!(
            AgentHandle::parse("@scout"),
            Err(NameError::ForbiddenCharacter { at: 0, character: '@' })
        ));
        for text in ["scout", "@scout", "SCOUT", "@Scout"] {
            assert_eq!(AgentHandle::parse_folded(text).unwrap(), "scout", "{text}");
        }
        for text in ["@@scout", "scout@", "@", "@sc", "@\u{212A}elvin", "@xn--abc"] {
            assert!(AgentHandle::parse_folded(text).is_err(), "{text}");
        }
        assert_eq!(AgentHandle::suggest("@My Scout").unwrap().as_name().as_str(), "my-scout");
    }
}
