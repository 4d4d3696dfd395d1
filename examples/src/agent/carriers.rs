//! By what the gateway is reached, as the command line has it.

use adit_mux::Carrier;
use clap::Args;

/// The carriers of sessions.
#[derive(Clone, Debug, Args)]
pub struct Carriers {
    /// The carriers to use, the best first, of quic, native, h2 and websocket.
    #[arg(long = "carrier", global = true, env = "ADIT_CARRIER", value_name = "NAME", value_delimiter = ',')]
    #[arg(default_value = "native")]
    pub order: Vec<Carrier>,
    /// Where the gateway speaks QUIC, as host:port. [default: as --gateway]
    #[arg(long, global = true, env = "ADIT_QUIC_GATEWAY", value_name = "ADDRESS")]
    pub quic_gateway: Option<String>,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { order: vec![Carrier::Native], quic_gateway: None }
    }
}
