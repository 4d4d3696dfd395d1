//! A certificate authority for tests: RFC 8555 on the loopback interface, for people without Pebble at hand.
//!
//! It is strict where clients go wrong: each nonce is good for one request, and every seventh is refused all the same;
//! each signature is verified, over the URL that was asked for; challenges are looked at over real sockets, HTTP-01 and
//! TLS-ALPN-01 as RFC 8737 has it; names are certified once they are proven, and only the account that proved them gets
//! them. Its root is made at each start and trusted by nobody.
//!
//! ```text
//!  serve: HTTPS ──► desk: accounts, orders, certificates ──► validate: the ports of a gateway
//!                    └─ jws: who says so
//! ```

mod any_certificate;
mod desk;
mod jws;
mod serve;
mod validate;

pub use any_certificate::AnyCertificate;

use crate::{BoxError, provider, random};
use adit_tls_modes::{Issuance, KeyGenerator, LocalCa, NewCa, PrivateKey};
use desk::Desk;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A running authority; dropping it ends it.
#[derive(Debug)]
pub struct TestAuthority {
    directory: String,
    root_pem: String,
    ports: Arc<Mutex<Option<ValidationPorts>>>,
    serving: AbortHandle,
}

/// The ports at which names are looked at: all names lead to the loopback interface.
#[derive(Clone, Copy, Debug)]
pub struct ValidationPorts {
    /// In place of port 80.
    pub http: SocketAddr,
    /// In place of port 443.
    pub https: SocketAddr,
}

impl TestAuthority {
    /// Starts on a free port. Until [`look_at`](Self::look_at) it finds no answer to any challenge.
    ///
    /// # Errors
    /// If there is no port, or no key.
    pub async fn start() -> Result<Self, BoxError> {
        let now = SystemTime::now();
        let new = NewCa::new("Adit test authority, trusted by nobody", now, random::octets());
        let authority = LocalCa::generate(KeyGenerator::AWS_LC_RS, &provider(), new)?;
        let key = PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider())?;
        let name = "localhost".parse()?;
        let own = authority.issue_own(&[name], false, &key, Issuance::new(now, random::octets()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base = format!("https://localhost:{}", listener.local_addr()?.port());
        let directory = format!("{base}/directory");
        let root_pem = authority.certificate_pem();
        let desk = Arc::new(Mutex::new(Desk::new(base, authority)));
        let acceptor = serve::acceptor(own.chain, &key)?;
        let ports = Arc::default();
        let serving = serve::serve(listener, acceptor, desk, Arc::clone(&ports));
        let serving = tokio::spawn(serving).abort_handle();
        Ok(Self { directory, root_pem, ports, serving })
    }

    /// Looks at these ports from now on.
    pub fn look_at(&self, ports: ValidationPorts) {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = Some(ports);
    }

    /// The URL of the directory.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The root that signs everything here, also the certificate of the directory's own HTTPS.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

impl Drop for TestAuthority {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
