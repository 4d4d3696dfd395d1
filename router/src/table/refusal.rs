//! What whoever asked is told. Who holds a key, and how many agents others have, stays with us.

use adit_errors::{Code, Refusal};

use super::{AttachError, PublishError, RouteKey, Superseded};

impl From<&PublishError> for Refusal {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::KeyTaken { key, .. } => taken(key.as_key()),
            PublishError::TooManyKeys { .. } => Self::new(Code::VALIDATION_FAILED, error.to_string()),
        }
    }
}

impl From<&AttachError> for Refusal {
    fn from(error: &AttachError) -> Self {
        match error {
            AttachError::UnknownTunnel { .. } => Self::from(Code::NOT_FOUND),
            AttachError::Stale { .. } => Self::from(Code::SUPERSEDED),
            AttachError::TooManyAgents { .. } => Self::new(Code::QUOTA_EXCEEDED, error.to_string()),
            AttachError::Exhausted {} => Self::internal(),
        }
    }
}

impl From<&Superseded> for Refusal {
    fn from(_: &Superseded) -> Self {
        Self::from(Code::TUNNEL_OFFLINE)
    }
}

fn taken(key: RouteKey<'_>) -> Refusal {
    if key.is_port() {
        return Refusal::from(Code::PORT_UNAVAILABLE);
    }
    if key.is_name() { Refusal::from(Code::SUBDOMAIN_TAKEN) } else { Refusal::from(Code::NAME_TAKEN) }
}

#[cfg(test)]
mod tests {
    use adit_naming::{CustomDomainRef, TunnelId, TunnelNameRef};

    use super::super::Generation;
    use super::*;

    #[test]
    fn a_taken_key_is_refused_by_its_kind_and_without_its_holder() {
        let holder = TunnelId::from_u128(0xfeed_face);
        for (key, code) in [
            (RouteKey::name(TunnelNameRef::parse("demo").unwrap()), Code::SUBDOMAIN_TAKEN),
            (RouteKey::domain(CustomDomainRef::parse("shop.example").unwrap()), Code::NAME_TAKEN),
            (RouteKey::tcp_port(35432), Code::PORT_UNAVAILABLE),
            (RouteKey::udp_port(19132), Code::PORT_UNAVAILABLE),
        ] {
            let refusal = Refusal::from(&PublishError::KeyTaken { key: key.into_owned(), holder });
            assert_eq!((refusal.code(), refusal.status()), (&code, 409));
            assert!(!refusal.message().contains("feedface"));
        }
    }

    #[test]
    fn each_attach_error_has_its_code() {
        for (error, code) in [
            (AttachError::UnknownTunnel { id: TunnelId::from_u128(1) }, Code::NOT_FOUND),
            (AttachError::Stale { newest: Generation::new(9) }, Code::SUPERSEDED),
            (AttachError::TooManyAgents { max_agents: 2 }, Code::QUOTA_EXCEEDED),
            (AttachError::Exhausted {}, Code::INTERNAL),
        ] {
            assert_eq!(Refusal::from(&error).code(), &code);
        }
        assert_eq!(Refusal::from(&Superseded { generation: Generation::NONE }).status(), 502);
    }
}
