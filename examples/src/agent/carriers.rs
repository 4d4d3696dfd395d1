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

    /// What the selector is told. Below TLS there are no others than those that a single octet tells apart.
    pub(super) fn preferences(&self, is_plain: bool) -> Preferences {
        let runs_plain = |carrier: &Carrier| matches!(carrier, Carrier::Native | Carrier::WebSocket);
        let mut order: Vec<_> = self.order.clone();
        order.retain(|carrier| !is_plain || runs_plain(carrier));
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
