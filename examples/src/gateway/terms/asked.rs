//! What an agent asks for in a registration, laid over what the tunnel has.
//!
//! An agent may ask for less than the owner allows, and for whatever the owner has not decided. Only an owner raises.

use super::PolicyDocument;
use adit_errors::{Code, Refusal};
use adit_wire_proto::control::{self, Register};

impl PolicyDocument {
    /// What a registration asks for; `None` if it leaves all to the gateway.
    pub(in super::super) fn of_registration(register: &Register) -> Option<Self> {
        let control::Policy {
            allow_methods,
            allow_networks,
            deny_networks,
            rate_per_minute,
            bandwidth,
            http_keep_alive,
            wake_on_http,
            ..
        } = register.policy.clone();
        let auth_mode = match register.auth_mode {
            control::AuthMode::UNSPECIFIED => None,
            control::AuthMode::OPEN => Some("open"),
            control::AuthMode::AUTHENTICATED => Some("authenticated"),
            _ => Some("unknown"),
        };
        let asks_nothing = auth_mode.is_none() && register.policy == control::Policy::default();
        (!asks_nothing).then(|| Self {
            auth_mode: auth_mode.map(str::to_owned),
            allow_methods,
            allow_networks,
            deny_networks,
            rate_per_minute,
            bandwidth,
            http_keep_alive,
            wake_on_http,
            ..Self::default()
        })
    }

    /// The terms that are asked for here, over those that the tunnel has, within those that its owner set.
    ///
    /// What isn't asked for stays. Of two bounds the lower one holds, and of what is allowed what both allow.
    ///
    /// # Errors
    /// `FORBIDDEN` if that would let in whom the owner keeps out.
    pub(in super::super) fn over(&self, present: &Self, owners: &Self) -> Result<Self, Refusal> {
        let mut terms = present.clone();
        // Those of `basic` are in the policy already, and stay there.
        terms.users.clear();
        if let Some(mode) = &self.auth_mode {
            if owners.is_closed() && owners.auth_mode.as_ref() != Some(mode) {
                return Err(raised("who may visit"));
            }
            terms.auth_mode = Some(mode.clone());
        }
        if !self.allow_methods.is_empty() {
            terms.allow_methods = common(&owners.allow_methods, &self.allow_methods)
                .ok_or_else(|| raised("which methods are allowed"))?;
        }
        if !self.allow_networks.is_empty() {
            terms.allow_networks = common(&owners.allow_networks, &self.allow_networks)
                .ok_or_else(|| raised("which networks may visit"))?;
        }
        if !self.deny_networks.is_empty() {
            // Over the owner's, not over the present ones, which would grow with each registration.
            let ours = self.deny_networks.iter().filter(|network| !owners.deny_networks.contains(network));
            terms.deny_networks = owners.deny_networks.iter().chain(ours).cloned().collect();
        }
        terms.rate_per_minute = lower(self.rate_per_minute, owners.rate_per_minute).or(terms.rate_per_minute);
        terms.bandwidth = lower(self.bandwidth, owners.bandwidth).or(terms.bandwidth);
        terms.http_keep_alive = owners.http_keep_alive.or(self.http_keep_alive).or(terms.http_keep_alive);
        terms.wake_on_http = owners.wake_on_http.or(self.wake_on_http).or(terms.wake_on_http);
        Ok(terms)
    }

    fn is_closed(&self) -> bool {
        self.auth_mode.as_deref().is_some_and(|mode| !matches!(mode, "open" | "public"))
    }
}

/// What is asked for, if the owner's bound isn't lower.
fn lower<T: Ord>(asked: Option<T>, owners: Option<T>) -> Option<T> {
    match (asked, owners) {
        (Some(asked), Some(owners)) => Some(asked.min(owners)),
        (asked, None) => asked,
        (None, Some(_)) => None,
    }
}

/// What both allow; an owner who allows nothing in particular allows all. `None` if there is nothing.
fn common(owners: &[String], asked: &[String]) -> Option<Vec<String>> {
    let both: Vec<_> =
        asked.iter().filter(|one| owners.is_empty() || owners.contains(one)).cloned().collect();
    (!both.is_empty()).then_some(both)
}

fn raised(what: &str) -> Refusal {
    Refusal::new(
        Code::FORBIDDEN,
        format!("the owner of this tunnel decided {what}, and only an owner may raise that"),
    )
}
