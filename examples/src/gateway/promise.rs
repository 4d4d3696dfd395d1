//! The price of a tunnel that registers, set aside until the tunnel is up.

use super::tokens::{Held, Tokens};
use adit_errors::Refusal;
use adit_router::TunnelId;
use adit_wire_proto::credential::CredentialId;

/// What is set aside for one registration. It is given back when this is dropped, unless it was kept.
pub(super) struct Promise<'a> {
    tokens: &'a Tokens,
    held: Held,
}

impl<'a> Promise<'a> {
    /// Sets the price of a tunnel aside, and a place for it.
    ///
    /// # Errors
    /// The budget or the quota doesn't reach.
    pub(super) fn of(
        tokens: &'a Tokens,
        credential: CredentialId,
        tunnel: TunnelId,
    ) -> Result<Self, Refusal> {
        Ok(Self { tokens, held: tokens.reserve(credential, tunnel)? })
    }

    /// Charges it: the tunnel is about to be up.
    ///
    /// # Errors
    /// It is no longer set aside; nothing is charged then.
    pub(super) fn keep(&self) -> Result<(), Refusal> {
        self.tokens.commit(&self.held)
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        // Of what was charged there is nothing left to give back.
        self.tokens.cancel(&self.held);
    }
}
