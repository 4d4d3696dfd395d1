use crate::ServerName;

/// The hosts that a tunnel may have in its certificate, taken from the tunnel's record and from nowhere else.
///
/// A request must ask for at least one of them and for nothing beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorisedNames {
    /// Invariant: 1 to [`MAX_NAMES`] names, all different, none with an underscore.
    names: Vec<ServerName>,
}

impl AuthorisedNames {
    /// Takes 1 to 100 hosts; the same one twice counts once.
    ///
    /// # Errors
    /// [`AuthorisedNamesError`]; these names come from our own records, so that an error is our own fault.
    pub fn new(names: impl IntoIterator<Item = ServerName>) -> Result<Self, AuthorisedNamesError> {
        let mut unique: Vec<ServerName> = Vec::new();
        for name in names {
            // RFC 5280 §4.2.1.6: a dNSName is in preferred name syntax, which has no underscore.
            if name.as_str().contains('_') {
                return Err(AuthorisedNamesError::Underscore);
            }
            if !unique.contains(&name) {
                unique.push(name);
            }
            if unique.len() > MAX_NAMES {
                return Err(AuthorisedNamesError::TooMany);
            }
        }
        if unique.is_empty() { Err(AuthorisedNamesError::Empty) } else { Ok(Self { names: unique }) }
    }

    /// The hosts, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &ServerName> {
        self.names.iter()
    }

    pub(crate) fn find(&self, name: &ServerName) -> Option<&ServerName> {
        self.names.iter().find(|authorised| *authorised == name)
    }
}

/// Why hosts can't be authorised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorisedNamesError {
    /// There is none.
    #[error("there is no host to authorise")]
    Empty,
    /// There are more than 100.
    #[error("there are more than 100 hosts")]
    TooMany,
    /// One has an underscore, which no certificate may hold.
    #[error("a host with an underscore cannot stand in a certificate")]
    Underscore,
}

/// What public authorities allow in one certificate, and a bound on the work for each request.
pub(crate) const MAX_NAMES: usize = 100;
