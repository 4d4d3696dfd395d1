//! Several agents for one tunnel: who stands beside whom, and who takes whose place (SPEC, 9.8).

use super::{Applicant, Registrar};
use adit_errors::{Code, Refusal};
use adit_router::{Generation, Join, RouteKey, TunnelId};

/// Agents that may share one tunnel. A visitor's choice looks at each of them.
pub(super) const MAX_SHARING_AGENTS: usize = 16;

/// Where an agent stands that attaches.
pub(super) struct Place {
    pub(super) join: Join,
    /// Whose place it takes, if it stands beside others.
    pub(super) instead_of: Option<Generation>,
}

impl Registrar {
    /// Where the applicant is to stand among a tunnel's agents, if it had the registration with the token `before`.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` if there are as many as may be.
    pub(super) fn place(
        &self,
        applicant: &Applicant<'_>,
        tunnel: TunnelId,
        before: &[u8],
    ) -> Result<Place, Refusal> {
        if !self.is_shared(applicant, tunnel) {
            return Ok(Place { join: Join::Replace, instead_of: None });
        }
        let entry = self.hub.routes.find(RouteKey::id(tunnel));
        let agents = entry.iter().flat_map(|entry| entry.agents());
        let (ours, others): (Vec<_>, Vec<_>) =
            agents.partition(|agent| agent.handle().resume_token == before);
        if others.len() >= MAX_SHARING_AGENTS {
            let message =
                format!("{MAX_SHARING_AGENTS} agents share this tunnel already, which is all that may");
            return Err(Refusal::new(Code::QUOTA_EXCEEDED, message));
        }
        let join = Join::Beside { max_agents: MAX_SHARING_AGENTS };
        Ok(Place { join, instead_of: ours.first().map(|agent| agent.generation()) })
    }

    /// Whether the applicant shares the tunnel with all who serve it now.
    pub(super) fn is_shared(&self, applicant: &Applicant<'_>, tunnel: TunnelId) -> bool {
        let ours = applicant.shares_load.then_some(applicant.credential);
        let entry = self.hub.routes.find(RouteKey::id(tunnel));
        let mut agents = entry.iter().flat_map(|entry| entry.agents());
        ours.is_some() && agents.all(|agent| agent.handle().shares_as == ours)
    }
}
