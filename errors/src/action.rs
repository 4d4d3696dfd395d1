use std::borrow::Cow;
use std::fmt;

use crate::spelling::{SpellingError, check_spelling, is_spelled_well};

/// What whoever receives a refusal should do next; an open value, so that an action unknown here survives.
///
/// Programs branch on [`Code`](crate::Code) and `NextAction`, never on the message. Someone who meets an action it
/// does not know treats it as [`NO_ACTION_POSSIBLE`](Self::NO_ACTION_POSSIBLE); see [`effective`](Self::effective).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextAction(Cow<'static, str>);

impl NextAction {
    /// Reads an action from a peer; a known one costs no allocation.
    ///
    /// # Errors
    /// [`SpellingError`] unless the text is 1 to 64 ASCII letters, digits, `_`, `-` or `.`, the first one a letter.
    pub fn parse(text: &str) -> Result<Self, SpellingError> {
        if let Some(known) = Self::find(text) {
            return Ok(known);
        }
        check_spelling(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// An action of your own, for a constant beside your own codes.
    ///
    /// # Panics
    /// If the text breaks the rule of [`parse`](Self::parse): while compiling, when used in a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(is_spelled_well(text.as_bytes()), "an action is 1 to 64 letters, digits, '_', '-' or '.'");
        Self(Cow::Borrowed(text))
    }

    /// The text as it stands in `next_action`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this version of the crate knows what the action asks for.
    #[must_use]
    pub fn is_known(&self) -> bool {
        Self::find(&self.0).is_some()
    }

    /// The action to follow: this one, or [`NO_ACTION_POSSIBLE`](Self::NO_ACTION_POSSIBLE) if it is unknown.
    #[must_use]
    pub fn effective(&self) -> Self {
        if self.is_known() { self.clone() } else { Self::NO_ACTION_POSSIBLE }
    }

    /// Whether it asks for the same request again.
    pub(crate) fn repeats(&self) -> bool {
        [Self::RETRY_WITH_BACKOFF, Self::RECONNECT, Self::USE_NEW_CONNECTION].contains(self)
    }

    /// All actions this crate knows, in the order of `CODES.md`.
    #[must_use]
    pub const fn known() -> &'static [ActionEntry] {
        ACTIONS
    }
}

impl fmt::Debug for NextAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NextAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for NextAction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A line of the table of actions.
#[derive(Clone, Debug)]
pub struct ActionEntry {
    action: NextAction,
    meaning: &'static str,
}

impl ActionEntry {
    /// The action.
    #[must_use]
    pub const fn action(&self) -> &NextAction {
        &self.action
    }

    /// What it asks for, in one sentence.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        self.meaning
    }
}

/// Defines each action once: its constant, its documentation, its line in the table.
macro_rules! actions {
    ($($name:ident: $meaning:literal;)+) => {
        impl NextAction {
            $(
                #[doc = $meaning]
                pub const $name: Self = Self(Cow::Borrowed(stringify!($name)));
            )+

            fn find(text: &str) -> Option<Self> {
                $(
                    if text == stringify!($name) {
                        return Some(Self::$name);
                    }
                )+
                None
            }
        }

        const ACTIONS: &[ActionEntry] = &[
            $(ActionEntry { action: NextAction::$name, meaning: $meaning },)+
        ];
    };
}

actions! {
    FIX_REQUEST_AND_RETRY: "Change what the message names in the request, then send it again.";
    RETRY_WITH_BACKOFF: "Sleep `retry_after_ms`, or a growing random time if there is none, then send the same request again.";
    NO_ACTION_POSSIBLE: "Stop: nothing that the receiver can do changes the answer.";
    CHOOSE_DIFFERENT_SUBDOMAIN: "Ask for another subdomain, or for none, so that the server picks one.";
    CHOOSE_DIFFERENT_NAME: "Ask for another name.";
    CHOOSE_DIFFERENT_PORT: "Ask for another public port, or for none, so that the server picks a free one.";
    REQUEST_HUMAN_APPROVAL: "Stop the loop and ask the person responsible for this credential, who alone can allow it.";
    PROVIDE_CREDENTIALS: "Send the request again with a credential.";
    REPLACE_CREDENTIALS: "Stop using this credential: it is wrong, expired or revoked; get another one.";
    UPGRADE_PLAN: "Stop and ask the account's owner: the plan has to change first.";
    UPGRADE_CLIENT: "Stop and update the program: it speaks a version or makes a mistake that this server does not take.";
    FREE_QUOTA_AND_RETRY: "Delete something of the same kind, or have the quota raised, then send the request again.";
    USE_NEW_IDEMPOTENCY_KEY: "Your retry logic has a bug: use a fresh `Idempotency-Key` for each new request.";
    USE_NEW_CONNECTION: "Send the same request again on a new connection made for this host.";
    REFRESH_AND_RETRY: "Read the resource again, then decide anew: its state does not allow this now.";
    RECONNECT: "Open a new session now, at the hinted address if there is one, and register again.";
    REGISTER_AGAIN: "The registration has ended by its own terms: register again if it is still wanted.";
    SIGN_CSR: "Finish the tunnel's certificate: send a certificate signing request for its name.";
    CONTACT_OWNER: "Stop: only whoever runs this tunnel can change it.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_actions_parse_to_themselves() {
        for entry in NextAction::known() {
            let parsed = NextAction::parse(entry.action().as_str()).unwrap();
            assert_eq!(&parsed, entry.action());
            assert!(matches!(parsed.0, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn unknown_actions_survive_and_mean_stop() {
        let action = NextAction::parse("SING_A_SONG").unwrap();
        assert_eq!(action.as_str(), "SING_A_SONG");
        assert_eq!(action.effective(), NextAction::NO_ACTION_POSSIBLE);
    }

    #[test]
    fn actions_are_distinct() {
        let mut names: Vec<&str> = NextAction::known().iter().map(|entry| entry.action().as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NextAction::known().len());
    }
}
