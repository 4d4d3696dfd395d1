//! What survives a restart of the gateway: each tunnel in a file of its own.
//!
//! A change marks its tunnel; whoever answers for the change saves what is marked first. What can't be saved stays marked,
//! and is tried again every second.

use super::super::kept::{KeptPolicy, KeptRecord, KeptTunnel};
use super::super::shelf::Shelf;
use super::super::{moment, reach};
use super::owner::{protocol, protocol_name};
use super::{Books, Registrar, Tunnel, timestamp};
use crate::BoxError;
use adit_errors::Refusal;
use adit_naming::ownership::OwnerId;
use adit_naming::{TunnelId, TunnelName};
use adit_router::State;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// The folder's name.
pub(super) const FOLDER: &str = "tunnels";

/// The files, and what is to be written to them.
#[derive(Debug)]
pub(super) struct Saving {
    /// Held while files are written, one after the other: none gets older by it.
    shelf: Mutex<Shelf>,
    /// At most as many as there are tunnels, and those that were forgotten since the last time.
    marked: Mutex<BTreeSet<TunnelId>>,
}

impl Saving {
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { shelf: Mutex::new(shelf), marked: Mutex::default() }
    }

    /// The tunnel has changed.
    pub(super) fn mark(&self, id: TunnelId) {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn take(&self) -> BTreeSet<TunnelId> {
        std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Registrar {
    /// Writes down what has changed. It waits for a disk.
    ///
    /// # Errors
    /// 500: the changes hold, but only until the gateway ends.
    pub(in super::super) fn save(&self) -> Result<(), Refusal> {
        let shelf = self.saving.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut saved = self.tokens.save();
        for id in self.saving.take() {
            // As it is now, whatever has marked it.
            let kept = {
                let books = self.books();
                let tunnel = books.tunnels.values().find(|tunnel| tunnel.record.id() == id);
                tunnel.map(Tunnel::kept)
            };
            let key = id.to_string();
            let written = match kept {
                Some(kept) => shelf.put(&key, &kept),
                None => shelf.remove(&key),
            };
            if let Err(error) = written {
                tracing::error!(kind = ?error.kind(), "a tunnel could not be saved");
                self.saving.mark(id);
                saved = Err(Refusal::internal());
            }
        }
        saved
    }

    /// The same for those who must not wait themselves.
    pub(in super::super) async fn save_aside(self: &Arc<Self>) -> Result<(), Refusal> {
        let registrar = Arc::clone(self);
        tokio::task::spawn_blocking(move || registrar.save())
            .await
            .unwrap_or_else(|_| Err(Refusal::internal()))
    }

    /// Takes the tunnels of before into the books, and shows them to visitors.
    ///
    /// # Errors
    /// What is damaged, for the person who starts the gateway.
    pub(super) fn restore(&self, all: Vec<(String, KeptTunnel)>) -> Result<(), BoxError> {
        for (key, kept) in all {
            self.restore_one(&key, kept)
                .map_err(|error| format!("{FOLDER}/{key}.json is damaged: {error}"))?;
        }
        Ok(())
    }

    fn restore_one(&self, key: &str, kept: KeptTunnel) -> Result<(), BoxError> {
        let id = TunnelId::from_u128(u128::from_str_radix(key, 16)?);
        let record = kept.record.restore(id)?;
        let owner = OwnerId::from_u128(u128::from_str_radix(&kept.owner, 16)?);
        let protocol = protocol(Some(&kept.protocol)).map_err(|_| "an unknown protocol")?;
        let (document, policy) = kept.policy.restore()?;
        let mut books = self.books();
        let Books { tunnels, names, ports, .. } = &mut *books;
        let name = record.name().clone();
        if tunnels.contains_key(&name) {
            return Err("another tunnel has its name".into());
        }
        own_again(names, &record, self.owner)?;
        let mut tunnel = self.new_tunnel(&name, owner, protocol, None);
        tunnel.record = record;
        tunnel.is_private = kept.is_private;
        tunnel.is_kept_private = kept.is_kept_private;
        tunnel.owners_document = kept.owners;
        // A holder that was revoked and forgotten holds it no longer.
        tunnel.holder = kept.holder.as_deref().and_then(|number| self.tokens.id_of(number));
        // Whom nobody knows any more may see nothing any more.
        tunnel.visibility = Arc::new(kept.reach.build(owner, &self.tokens).unwrap_or_else(|_| {
            tracing::warn!(tunnel = %id, "a viewer of a tunnel is no credential any more");
            reach::alone(owner)
        }));
        tunnel.reach = kept.reach;
        tunnel.restore_policy(document, policy);
        if let (Some(port), Some(ports)) = (kept.port, ports.of(protocol))
            && let Ok(lease) = ports.claim(id, port, Instant::now())
        {
            // It waits for the tunnel's agent as after a disconnect.
            ports.disconnect(&lease, Instant::now());
        }
        self.publish(&tunnel).map_err(|_| "its way is taken")?;
        tunnels.insert(name, tunnel);
        Ok(())
    }
}

/// Makes the name its owner's again, or releases it to the same moment.
fn own_again(
    names: &mut super::Registry<super::MemoryStore>,
    record: &adit_router::Record,
    owner: OwnerId,
) -> Result<(), BoxError> {
    let taken = "its name is taken";
    let name: &TunnelName = record.name();
    let claim = names.claim(name.borrowed(), owner, timestamp(record.created())).map_err(|_| taken)?;
    if let Some(until) = record.certified_until() {
        names.certified(&claim, timestamp(until)).map_err(|_| taken)?;
    }
    if let State::DeletePending { until, .. } = record.state() {
        let since: SystemTime = until.checked_sub(record.grace()).unwrap_or(SystemTime::UNIX_EPOCH);
        let claim = names.prove(name.borrowed(), owner, timestamp(since)).map_err(|_| taken)?;
        names.release(claim, timestamp(since)).map_err(|_| taken)?;
    }
    Ok(())
}

impl Tunnel {
    fn kept(&self) -> KeptTunnel {
        KeptTunnel {
            record: KeptRecord::of(&self.record),
            protocol: protocol_name(self.protocol).to_owned(),
            owner: format!("{:032x}", self.owner.as_u128()),
            holder: self.holder.map(|holder| format!("{:016x}", holder.nonce())),
            is_private: self.is_private,
            is_kept_private: self.is_kept_private,
            reach: self.reach.clone(),
            port: self.port.as_ref().map(|port| port.lease.port()),
            policy: KeptPolicy::of(&self.document, &self.policy, moment().system()),
            owners: self.owners_document.clone(),
        }
    }
}
