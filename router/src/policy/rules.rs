//! Paths that nobody may ask for, and what can be wrong with a policy.

use adit_errors::{Code, Refusal};

use crate::request::PathView;

/// Paths that are denied, by whole segments: `/admin` denies `/admin` and all below it, in every reading that a server
/// may have of a path ([`PathView`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// At most [`MAX_PATHS`](Self::MAX_PATHS).
    denied: Vec<Box<str>>,
}

impl PathRules {
    /// The most paths.
    pub const MAX_PATHS: usize = 64;
    /// The longest path, in bytes.
    pub const MAX_PATH_BYTES: usize = 1024;

    /// Nothing is denied.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies a path and all below it; `/` denies everything.
    ///
    /// # Errors
    /// [`PolicyError::Path`] unless it begins with a slash, stands as it is resolved, and is one of at most 64.
    pub fn deny(mut self, path: &str) -> Result<Self, PolicyError> {
        let is_resolved = PathView::new(path).as_bytes() == path.as_bytes();
        let has_room = path.len() <= Self::MAX_PATH_BYTES && self.denied.len() < Self::MAX_PATHS;
        if !(path.starts_with('/')
            && is_resolved
            && has_room
            && path.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(PolicyError::Path { max_paths: Self::MAX_PATHS });
        }
        self.denied.push(path.into());
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.denied.is_empty()
    }

    pub(super) fn denies(&self, path: &str) -> bool {
        if self.denied.is_empty() {
            return false;
        }
        let view = PathView::new(path);
        self.denied.iter().any(|denied| view.is_below(denied))
    }
}

/// What is wrong with a policy that somebody wants to set. Nothing is changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A rate outside its range.
    #[error("a rate is 1 to {max} requests a minute")]
    Rate {
        /// The highest.
        max: u32,
    },
    /// What is no network.
    #[error(
        "a network is an address or address/length without bits beyond it, and there are at most {max_networks}"
    )]
    Network {
        /// The most of one kind.
        max_networks: usize,
    },
    /// What is no path.
    #[error("a denied path begins with a slash and is written plainly, and there are at most {max_paths}")]
    Path {
        /// The most.
        max_paths: usize,
    },
    /// What is no method.
    #[error("a method is written in capitals, and there are at most {max_methods}")]
    Method {
        /// The most.
        max_methods: usize,
    },
    /// A field that no rule may touch, or that is none.
    #[error("this field is not for rules, or is no field, and there are at most {max_fields}")]
    Field {
        /// The most of one kind.
        max_fields: usize,
    },
    /// A name or password that is no good.
    #[error(
        "a user has a name without a colon and a password of at least {min_bytes} bytes, and there are at most 16"
    )]
    Password {
        /// The shortest password.
        min_bytes: usize,
    },
    /// No token, or too many.
    #[error("an authenticated tunnel has 1 to {max_tokens} tokens")]
    TooManyTokens {
        /// The most.
        max_tokens: usize,
    },
    /// As many shares as there may be.
    #[error("a tunnel has at most {max_shares} shares")]
    TooManyShares {
        /// The most.
        max_shares: usize,
    },
    /// An unknown expiry.
    #[error("a share expires in 1h, 24h, 7d, 30d or never")]
    ShareExpiry {},
    /// What is no share's number.
    #[error("a share's id is 32 hexadecimal digits")]
    ShareId {},
}

impl From<&PolicyError> for Refusal {
    fn from(error: &PolicyError) -> Self {
        let code = match error {
            PolicyError::TooManyShares { .. } => Code::QUOTA_EXCEEDED,
            PolicyError::ShareId {} => Code::NOT_FOUND,
            PolicyError::Rate { .. }
            | PolicyError::Network { .. }
            | PolicyError::Path { .. }
            | PolicyError::Method { .. }
            | PolicyError::Field { .. }
            | PolicyError::Password { .. }
            | PolicyError::TooManyTokens { .. }
            | PolicyError::ShareExpiry {} => Code::VALIDATION_FAILED,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_path_is_denied_in_every_reading() {
        let rules = PathRules::new().deny("/admin").unwrap();
        for path in ["/admin", "/admin/x", "/%61dmin", "//admin", "/x/../admin", "/ADMIN/", "/admin;x=1"] {
            assert!(rules.denies(path), "{path}");
        }
        for path in ["/", "/administrator", "/x/admin"] {
            assert!(!rules.denies(path), "{path}");
        }
        assert!(PathRules::new().deny("/").unwrap().denies("/anything"));
    }

    #[test]
    fn a_rule_that_would_never_match_is_refused() {
        for path in ["", "admin", "/a/../b", "/%61", "//a", "/a b"] {
            assert!(PathRules::new().deny(path).is_err(), "{path:?}");
        }
    }
}
