//! Agents that reach the tunnels of others: a stream from one agent, relayed to the other.
//!
//! A tunnel is visible to the credential that made it, and to nobody else until its owner says so. Reaching one is no
//! visit: the grant stands in the place of the visitors' policy, of which only the budget of bytes holds here, too.

use super::hub::{Facts, Hub, Link};
use super::leased::Leased;
use super::life;
use super::tokens::Tokens;
use crate::random;
use adit_errors::{Code, Refusal};
use adit_mux::{IncomingStream, RelayOptions, relay};
use adit_naming::TunnelNameRef;
use adit_naming::ownership::OwnerId;
use adit_router::{Dispatch, OrganisationId, RouteKey, State, Traffic, Tunnel, TunnelId, Viewer, Visibility};
use adit_wire_proto::credential::CredentialId;
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The one that there is: whoever runs this gateway, and all who have a credential for it.
const ORGANISATION: OrganisationId = OrganisationId::from_u128(0);

/// The document of `PUT /tunnels/{id}/reach`: all of it, what isn't mentioned is not granted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReachDocument {
    /// Ids of credentials, as `/tokens` lists them.
    viewers: Vec<String>,
    /// Every credential of this gateway.
    organisation: bool,
}

impl ReachDocument {
    /// To whom a tunnel of `owner` is visible then.
    ///
    /// # Errors
    /// A viewer that is no credential, or more of them than a tunnel may have.
    pub(super) fn build(&self, owner: OwnerId, tokens: &Tokens) -> Result<Visibility, Refusal> {
        let mut visibility = Visibility::of(owner);
        for viewer in &self.viewers {
            let id = tokens.id_of(viewer).ok_or_else(|| {
                Refusal::new(Code::VALIDATION_FAILED, "viewers are ids of credentials, as /tokens lists them")
            })?;
            visibility.grant(owner_of(id)).map_err(|error| Refusal::from(&error))?;
        }
        if self.organisation {
            visibility.grant_organisation(ORGANISATION);
        }
        Ok(visibility)
    }
}

/// Visible to its owner, and to nobody else.
pub(super) fn alone(owner: OwnerId) -> Visibility {
    Visibility::of(owner)
}

/// Whose a tunnel is that this credential makes.
pub(super) fn owner_of(credential: CredentialId) -> OwnerId {
    OwnerId::from_u128(u128::from(credential.nonce()))
}

/// Who an agent is to others.
pub(super) fn viewer(credential: CredentialId) -> Viewer {
    Viewer::new(owner_of(credential)).member_of(ORGANISATION)
}

/// Serves one stream that an agent opened.
pub(super) async fn serve(hub: Arc<Hub>, viewer: Viewer, stream: IncomingStream) {
    let head = match StreamHead::decode(stream.head().clone()) {
        Ok(head) if head.protocol() == Protocol::REACH => head,
        Ok(_) => return stream.refuse(CloseCode::REFUSED),
        Err(error) => return stream.refuse(error.close_code()),
    };
    let name = head.target().unwrap_or_default();
    let Some(tunnel) = find(&hub, name, viewer) else {
        return stream.refuse(CloseCode::UNKNOWN_TUNNEL);
    };
    let mut dispatch = Dispatch::new(random::number());
    match hub.open(&mut dispatch, None, |hub| find(hub, name, viewer), |head| head).await {
        Ok((upstream, work)) => {
            let (hub, id) = (Arc::clone(&hub), tunnel.id());
            let ended = life::until_refused(&tunnel, None, move || recheck(&hub, id, viewer));
            let stream = Leased::new(stream.accept(), ended, tunnel.facts(), &work, Traffic::Other);
            let report = relay(upstream, stream, RelayOptions::default()).await;
            tracing::debug!(?report, "an agent's reach ended");
            drop(work);
        }
        Err(refusal) => {
            tracing::debug!(code = %refusal.code(), "refused an agent's reach");
            stream.refuse(code_of(&refusal));
        }
    }
}

/// The tunnel, if this viewer may see it. One that is not there is looked at just the same.
fn find(hub: &Hub, name: &str, viewer: Viewer) -> Option<Arc<Tunnel<Link, Facts>>> {
    let key = TunnelNameRef::parse(name).ok().map(RouteKey::private);
    let tunnel = key.and_then(|key| hub.look_up(key));
    let visibility = tunnel.as_ref().map(|tunnel| &*tunnel.facts().visibility);
    Visibility::decide(visibility, viewer).ok().and(tunnel)
}

/// Whether a stream that runs may go on.
fn recheck(hub: &Hub, id: TunnelId, viewer: Viewer) -> Result<(), Refusal> {
    let tunnel = hub.look_up(RouteKey::id(id));
    let visibility = tunnel.as_ref().map(|tunnel| &*tunnel.facts().visibility);
    Visibility::decide(visibility, viewer).map_err(|error| Refusal::from(&error))?;
    match tunnel.map(|tunnel| tunnel.facts().record.state()) {
        // A paused tunnel lets streams finish, as it does those of visitors.
        Some(State::AwaitingCert | State::Active | State::Paused) => Ok(()),
        Some(State::DeletePending { .. } | State::Deleted) | None => Err(Refusal::from(Code::NOT_FOUND)),
    }
}

fn code_of(refusal: &Refusal) -> CloseCode {
    match refusal.status() {
        404 => CloseCode::UNKNOWN_TUNNEL,
        502 | 504 => CloseCode::UPSTREAM_UNREACHABLE,
        _ => CloseCode::REFUSED,
    }
}
