use std::error::Error;
use std::fmt;

use crate::code::Code;
use crate::refusal::Refusal;

/// An internal failure whose cause stays inside.
///
/// What goes wrong inside names paths, hosts, queries and secrets. `Hidden` carries the cause to the one place that
/// may see it, the operator's own log, and shows it nowhere on the way: not in `Debug`, not in `Display`, and not as
/// [`Error::source`], which loggers walk. Towards the caller it becomes [`Code::INTERNAL`] with a fixed message.
///
/// ```
/// use adit_errors::{Code, Hidden, Refusal};
///
/// fn load() -> Result<String, Hidden> {
///     std::fs::read_to_string("/srv/secret-place/no-such-file").map_err(Hidden::new)
/// }
///
/// let hidden = load().unwrap_err();
/// assert_eq!(format!("{hidden:?} {hidden}"), "Hidden(..) internal failure");
/// assert!(hidden.cause().to_string().contains("No such file"));
/// assert_eq!(Refusal::from(hidden).code(), &Code::INTERNAL);
/// ```
pub struct Hidden(Box<dyn Error + Send + Sync>);

impl Hidden {
    /// Hides a cause: an error, a `String` or a `&str`.
    #[must_use]
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// The cause, for the operator's own log only.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    /// Takes the cause out, for the operator's own log only.
    #[must_use]
    pub fn into_cause(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("internal failure")
    }
}

impl Error for Hidden {}

impl From<Hidden> for Refusal {
    fn from(_: Hidden) -> Self {
        Self::from(Code::INTERNAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_id::RequestId;

    #[test]
    fn x02_an_internal_failure_shows_nothing_of_its_chain() {
        let hidden =
            Hidden::new(Outer(std::io::Error::other("open /etc/adit/key.pem on db-7.internal: SELECT *")));
        assert!(hidden.source().is_none());
        let shown = format!("{hidden} {hidden:?} {hidden:#?}");
        let cause = hidden.cause().source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("db-7"), "the operator still gets it");

        let envelope = Refusal::from(hidden).with_request_id(RequestId::from_random(5));
        let body = String::from_utf8(envelope.to_json()).unwrap();
        for leak in ["/etc", "key.pem", "db-7", "SELECT", "outer", "hidden.rs"] {
            assert!(!format!("{shown}{body}{envelope:?}{envelope}").contains(leak), "{leak}");
        }
        assert!(body.starts_with(r#"{"error":"internal","message":"#));
    }

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
}
