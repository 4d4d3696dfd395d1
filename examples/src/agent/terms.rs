//! On what terms the tunnel is asked for.

use adit_wire_proto::control::{AuthMode, Register, Visibility};
use clap::Args;
use std::time::Duration;

/// Who may visit, how long the tunnel lives, and what visits do. What isn't said is left to the gateway.
#[derive(Clone, Debug, Default, Args)]
pub struct Terms {
    /// Who may visit: everybody, or who presents the token that the gateway makes and the agent prints once.
    #[arg(long, global = true, value_parser = ["open", "authenticated"])]
    pub auth: Option<String>,
    /// A method that visitors may use, in capitals; all unless given. May be repeated.
    #[arg(long = "allow-method", global = true)]
    pub allow_methods: Vec<String>,
    /// A network (CIDR) that may visit; all unless given. May be repeated.
    #[arg(long = "allow-from", global = true)]
    pub allow_networks: Vec<String>,
    /// A network (CIDR) that may not. May be repeated.
    #[arg(long = "deny-from", global = true)]
    pub deny_networks: Vec<String>,
    /// Requests, or connections, a minute.
    #[arg(long, global = true)]
    pub rate: Option<u32>,
    /// Octets a second, each way, of all visitors together.
    #[arg(long, global = true)]
    pub bandwidth: Option<u64>,
    /// How long a new tunnel lives, as 90s, 30m, 12h or 7d.
    #[arg(long, global = true, value_parser = duration)]
    pub ttl: Option<Duration>,
    /// For other agents only, which open it with `agent reach NAME`: it gets no public address.
    #[arg(long, global = true)]
    pub private: bool,
    /// Share the tunnel with other agents that say the same: visitors go to one of them, and to another one when it fails.
    /// Without it the newest agent has the tunnel alone.
    #[arg(long, global = true)]
    pub share_load: bool,
    /// Let no visitor in until the tunnel is resumed.
    #[arg(long, global = true)]
    pub pause: bool,
    /// A visitor's HTTP request wakes the machine when this agent is away.
    #[arg(long, global = true)]
    pub wake_on_http: bool,
    /// HTTP requests don't count as use of the tunnel.
    #[arg(long, global = true)]
    pub no_http_keep_alive: bool,
    /// Make a share, and print its link: for 1h, 24h, 7d, 30d, or never. Needs ADIT_ADMIN_TOKEN.
    #[arg(long, global = true, value_parser = ["1h", "24h", "7d", "30d", "never"])]
    pub share: Option<String>,
    /// The gateway's admin port, for `--share`.
    #[arg(long, global = true, env = "ADIT_ADMIN", default_value = "127.0.0.1:9090")]
    pub admin: String,
}

impl Terms {
    /// Writes the terms into a registration.
    pub(super) fn apply(&self, register: &mut Register) {
        register.auth_mode = match self.auth.as_deref() {
            Some("authenticated") => AuthMode::AUTHENTICATED,
            Some(_) => AuthMode::OPEN,
            None => AuthMode::UNSPECIFIED,
        };
        if self.private {
            register.visibility = Visibility::PRIVATE;
        }
        register.ttl = self.ttl;
        let policy = &mut register.policy;
        policy.allow_methods.clone_from(&self.allow_methods);
        policy.allow_networks.clone_from(&self.allow_networks);
        policy.deny_networks.clone_from(&self.deny_networks);
        policy.rate_per_minute = self.rate;
        policy.bandwidth = self.bandwidth;
        policy.wake_on_http = self.wake_on_http.then_some(true);
        policy.http_keep_alive = self.no_http_keep_alive.then_some(false);
    }
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; try 90s, 30m, 12h or 7d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "s", "0h", "5", "-1h", "1.5h", "1w", "99999999999999999999d", "ü"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
