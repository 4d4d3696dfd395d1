//! Public certificates for the hosts of tunnels whose TLS the gateway ends: ordered by ACME, kept, renewed, served.

use super::hub::Hub;
use crate::acme::{certificate_of, order};
use crate::{BoxError, provider, random};
use adit_naming::{Host, HostSource};
use adit_tls_modes::{
    AcmeError, AcmeNext, AcmeSigner, CertificateStore, EdgeHost, KeyGenerator, NamePattern, PrivateKey,
    ServerCertificate, ServerName, renew_at, retry_after,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Hosts that wait to be noticed; a tunnel that comes when there are more has its wish noted when its agent comes again.
pub(super) const MAX_WISHES: usize = 1_000;

/// Hosts that certificates are kept fresh for.
const MAX_HOSTS: usize = 10_000;

/// For the time when there is nothing to do: near enough for the clock's arithmetic.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Orders, one at a time.
pub(super) struct Certifier {
    pub(super) hub: Arc<Hub>,
    pub(super) signer: Arc<AcmeSigner>,
    pub(super) store: CertificateStore,
    /// Hosts that tunnels have come for.
    pub(super) wishes: mpsc::Receiver<ServerName>,
}

/// When a host's certificate is to be ordered next.
struct Due {
    at: Instant,
    failures: u32,
}

impl Certifier {
    /// Works until the gateway ends.
    pub(super) async fn run(mut self) {
        // At most MAX_HOSTS.
        let mut hosts: BTreeMap<String, Due> = BTreeMap::new();
        loop {
            let next = hosts.iter().min_by_key(|(_, due)| due.at).map(|(host, due)| (host.clone(), due.at));
            let at = next.as_ref().map_or_else(|| Instant::now() + NEVER, |(_, at)| *at);
            tokio::select! {
                host = self.wishes.recv() => {
                    let Some(host) = host else { return };
                    if hosts.len() < MAX_HOSTS {
                        let due = || Due { at: Instant::now(), failures: 0 };
                        hosts.entry(host.as_str().to_owned()).or_insert_with(due);
                    }
                }
                () = sleep_until(at) => if let Some((host, _)) = next {
                    if !self.is_wanted(&host) {
                        hosts.remove(&host);
                    } else if let Some(due) = hosts.get_mut(&host) {
                        self.tend(&host, due).await;
                    }
                }
            }
        }
    }

    /// Whether there is a tunnel of that host still; one that comes again wishes again.
    fn is_wanted(&self, host: &str) -> bool {
        Host::parse(host.as_bytes(), HostSource::Sni).is_ok_and(|host| self.hub.find(&host).is_some())
    }

    /// Serves `host` with a certificate that isn't due, the one in the store or a new one, and notes when it will be.
    async fn tend(&self, host: &str, due: &mut Due) {
        let wait = match self.certify(host).await {
            Ok(wait) => {
                due.failures = 0;
                wait
            }
            Err(error) => {
                due.failures += 1;
                let next = error.downcast_ref::<AcmeError>().map(AcmeError::next);
                tracing::warn!(%error, ?next, "a host has no public certificate; trying again later");
                match next {
                    Some(AcmeNext::RetryAfter { wait }) => wait,
                    _ => retry_after(due.failures, random_share()),
                }
            }
        };
        due.at = Instant::now() + wait;
    }

    async fn certify(&self, host: &str) -> Result<Duration, BoxError> {
        let name: ServerName = host.parse()?;
        let stored = self.store.load(host, &provider())?;
        if let Some(certificate) = stored.as_ref().and_then(certificate_of)
            && let Some(wait) = life_left(&certificate)
        {
            self.hub.edge.install(&NamePattern::exact(name), EdgeHost::new(certificate))?;
            return Ok(wait);
        }
        // A new key for each certificate: nobody pins those of an edge.
        let key = PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider())?;
        let certificate = order(&self.signer, &self.store, &name, &key).await?;
        let wait = life_left(&certificate).unwrap_or_default();
        self.hub.edge.install(&NamePattern::exact(name), EdgeHost::new(certificate))?;
        tracing::info!("a host of a tunnel has a public certificate");
        Ok(wait)
    }
}

/// Until the certificate is to be renewed; `None` if that is now.
fn life_left(certificate: &ServerCertificate) -> Option<Duration> {
    let due = renew_at(certificate.not_before(), certificate.not_after(), random_share());
    due.duration_since(SystemTime::now()).ok()
}

fn random_share() -> u32 {
    u32::from_be_bytes(random::octets())
}
