//! What the books say about a tunnel's certificate.

use super::super::moment;
use super::{Registrar, now, timestamp};
use adit_errors::{Code, Refusal};
use adit_naming::TunnelName;
use adit_router::{Command, TunnelId};
use std::time::SystemTime;

impl Registrar {
    /// The tunnel with this number or name.
    pub(in super::super) fn identify(&self, id: &str) -> Result<(TunnelId, TunnelName), Refusal> {
        let books = self.books();
        let mut tunnels = books.tunnels.values().map(|tunnel| &tunnel.record);
        let record = tunnels.find(|record| record.name().as_str() == id || record.id().to_string() == id);
        let record = record.ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        Ok((record.id(), record.name().clone()))
    }

    /// The tunnel of that name, if there is anything to sign for it now (C-35).
    pub(in super::super) fn signable(&self, name: &TunnelName) -> Result<TunnelId, Refusal> {
        let books = self.books();
        let tunnel = books.tunnels.get(name).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        // Tried on a copy: a signature that is refused costs nothing.
        let mut record = tunnel.record.clone();
        record.apply(Command::Certify, moment().system()).map_err(|error| Refusal::from(&error))?;
        Ok(record.id())
    }

    /// Notes a certificate: the tunnel is active now, and while the certificate is good nobody else gets the name, even
    /// if its owner gives it up (H9).
    ///
    /// # Errors
    /// The refusal for who asked: then the certificate isn't to be handed out.
    pub(in super::super) fn certified(&self, name: &TunnelName, until: SystemTime) -> Result<(), Refusal> {
        let forbidden = || Refusal::from(Code::FORBIDDEN);
        let mut books = self.books();
        let claim = books.names.prove(name.borrowed(), self.owner, now()).map_err(|_| forbidden())?;
        books.names.certified(&claim, timestamp(until)).map_err(|_| forbidden())?;
        let tunnel = books.tunnels.get_mut(name).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        tunnel.record.certify(until, moment().system()).map_err(|error| Refusal::from(&error))?;
        self.saving.mark(tunnel.record.id());
        let (keys, facts) = (tunnel.keys(&self.config.custom_domains), tunnel.facts());
        self.hub.routes.publish(tunnel.record.id(), keys, facts).map_err(|_| Refusal::internal())
    }
}
