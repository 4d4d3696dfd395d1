//! By what the gateway is reached, as the command line has it.

use adit_mux::Carrier;
use adit_mux::carrier::select::Preferences;
use clap::Args;
use std::time::Duration;

/// The carriers of sessions.
#[derive(Clone, Debug, Args)]
pub struct Carriers {
    /// The carriers to use, the best first, of quic, native, h2 and websocket. [default: all four]
    #[arg(long = "carrier", global = true, env = "ADIT_CARRIER", value_name = "NAME", value_delimiter = ',')]
    #[arg(default_value = "quic,native,h2,websocket", hide_default_value = true)]
    pub order: Vec<Carrier>,
    /// Where the gateway speaks QUIC, as host:port. [default: as --gateway]
    #[arg(long, global = true, env = "ADIT_QUIC_GATEWAY", value_name = "ADDRESS")]
    pub quic_gateway: Option<String>,
    /// How long each carrier may go without an answer until the next one is tried beside it, in milliseconds.
    #[arg(long = "head-start-ms", global = true, value_parser = millis, default_value = "300")]
    pub head_start: Duration,
    /// After how long a better carrier than the one in use is tried again, in milliseconds; doubled, up to twenty times as
    /// long, while it doesn't answer.
    #[arg(long = "probe-ms", global = true, value_parser = millis, default_value = "30000")]
    pub probe: Duration,
}

impl Default for Carriers {
    /// As on the command line.
    fn default() -> Self {
        Self {
            order: Carrier::ALL.to_vec(),
            quic_gateway: None,
            head_start: Duration::from_millis(300),
            probe: Duration::from_secs(30),
        }
    }
}

impl Carriers {
    /// One carrier and no other.
    pub fn only(carrier: Carrier) -> Self {
        Self { order: vec![carrier], ..Self::default() }
    }

    /// What the selector is told. Below TLS there is no QUIC. Where a proxy is the
    /// way out QUIC would go past it, and does so only if nothing else was asked for.
    pub(super) fn preferences(&self, is_plain: bool, is_proxied: bool) -> Preferences {
        let mut order: Vec<_> = self.order.clone();
        order.retain(|carrier| !is_plain || *carrier != Carrier::Quic);
        if is_proxied && order.iter().any(|carrier| *carrier != Carrier::Quic) {
            order.retain(|carrier| *carrier != Carrier::Quic);
        }
        let preferences =
            Preferences::new(order.iter().copied()).probe(self.probe, self.probe.saturating_mul(20));
        order
            .iter()
            .fold(preferences, |preferences, carrier| preferences.head_start(*carrier, self.head_start))
    }
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_does_not_go_past_a_proxy_unless_it_was_asked_for_alone() {
        let orders = |carriers: &Carriers| {
            [false, true].map(|proxied| carriers.preferences(false, proxied).order().collect::<Vec<_>>())
        };
        let tcp = Carrier::ALL.into_iter().filter(|carrier| *carrier != Carrier::Quic).collect();
        assert_eq!(orders(&Carriers::default()), [Carrier::ALL.to_vec(), tcp]);
        let quic = vec![Carrier::Quic];
        assert_eq!(orders(&Carriers::only(Carrier::Quic)), [quic.clone(), quic]);
    }
}
