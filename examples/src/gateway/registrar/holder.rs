//! Whose agents may serve a tunnel: those of the credential that holds it (H7, W-24).
//!
//! That is the one which made it, or for a tunnel which the owner made by the API, the one whose agent came first. Once
//! that credential is good no longer, the next one to register holds it. The owner of the gateway may delete the tunnel.

use super::super::reach;
use super::{Registrar, Tunnel};
use adit_errors::{Code, Refusal};
use adit_router::Visibility;
use adit_wire_proto::credential::CredentialId;
use std::sync::Arc;

impl Registrar {
    /// Whether agents of this credential may serve the tunnel.
    ///
    /// # Errors
    /// `FORBIDDEN` if another credential holds it.
    pub(super) fn check_holder(&self, tunnel: &Tunnel, credential: CredentialId) -> Result<(), Refusal> {
        let may = tunnel.holder.is_none_or(|holder| holder == credential || !self.tokens.is_valid(holder));
        if may {
            return Ok(());
        }
        let message = "this tunnel is held by another credential: use that one, or another name";
        Err(Refusal::new(Code::FORBIDDEN, message))
    }

    /// Gives the tunnel to the credential, which [`check_holder`](Self::check_holder) let through.
    pub(super) fn hold(&self, tunnel: &mut Tunnel, credential: CredentialId) {
        let owner = reach::owner_of(credential);
        tunnel.holder = Some(credential);
        if tunnel.owner != owner {
            tunnel.owner = owner;
            // A viewer that is no credential any more makes none of the others one.
            let visibility = tunnel.reach.build(owner, &self.tokens);
            tunnel.visibility = Arc::new(visibility.unwrap_or_else(|_| Visibility::of(owner)));
        }
    }
}
