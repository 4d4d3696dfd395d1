use std::fmt;
use std::sync::Arc;

use rustls::server::ProducesTickets;

/// Within what a TLS session may be resumed: put in whatever makes the tenant of a name another one, such as the id of
/// the tunnel and the generation of its registration.
///
/// A ticket from one scope is worth nothing in another: the handshake is then a full one. So neither a ticket of
/// another tenant, nor one kept while a name was deleted and claimed again, resumes anything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResumptionScope {
    id: Box<[u8]>,
}

impl ResumptionScope {
    /// A scope; any bytes that differ make another one. They travel inside the ticket, encrypted: keep them short.
    pub fn new(id: impl AsRef<[u8]>) -> Self {
        Self { id: id.as_ref().into() }
    }

    pub(crate) fn tickets(
        &self,
        inner: &Arc<dyn ProducesTickets>,
        name: &str,
        rule: u64,
    ) -> Arc<ScopedTickets> {
        let mut scope = Vec::with_capacity(self.id.len() + name.len() + 16);
        scope.extend_from_slice(&rule.to_be_bytes());
        // With its length in front no two pairs of name and id give the same bytes.
        scope.extend_from_slice(&name.len().to_be_bytes());
        scope.extend_from_slice(name.as_bytes());
        scope.extend_from_slice(&self.id);
        Arc::new(ScopedTickets { inner: Arc::clone(inner), scope: scope.into() })
    }
}

impl fmt::Debug for ResumptionScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumptionScope({})", self.id.escape_ascii())
    }
}

/// Tickets that open in one scope only: the scope is sealed into each, in front of the session, and must come out
/// again.
///
/// ```text
///   ticket = inner.encrypt( length u32 | scope | session )
/// ```
#[derive(Debug)]
pub(crate) struct ScopedTickets {
    inner: Arc<dyn ProducesTickets>,
    scope: Box<[u8]>,
}

impl ProducesTickets for ScopedTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(self.scope.len()).ok()?;
        self.inner.encrypt(&[&length.to_be_bytes()[..], &self.scope, session].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = self.inner.decrypt(ticket)?;
        let length = u32::try_from(self.scope.len()).ok()?.to_be_bytes();
        let session = sealed.strip_prefix(&length)?.strip_prefix(&*self.scope)?;
        let session_starts_at = sealed.len() - session.len();
        sealed.drain(..session_starts_at);
        Some(sealed)
    }
}
