//! The agent: dials out, registers one tunnel, and forwards what visitors send to the local service.

mod backoff;
mod carriers;
mod choose;
mod config;
mod course;
mod dial;
mod domain;
mod link;
mod local;
mod memory;
mod outward;
mod ports;
mod quic;
mod reach;
mod report;
mod serve;
mod share;
mod shift;
mod status;
mod terms;
mod tunnel;
mod udp;
mod vault;

pub use carriers::Carriers;
pub use config::{Command, Config, Link, Program, Tunnel, Upstream};
pub(crate) use dial::tls;
pub use domain::OwnDomain;
pub use link::Secret;
pub use local::{Local, ProxyProtocol};
pub use ports::Ports;
pub use reach::Reach;
pub use report::{Event, Secret as ShownSecret};
pub use status::{Doing, Status, print_statuses, statuses};
pub use terms::Terms;
pub use vault::certificate_path;

use crate::random;
use adit_errors::Repeat;
use backoff::Backoff;
use choose::Chooser;
use domain::Domain;
use link::{Agent, End, Keys};
use report::Style;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs the agent until `stop` is cancelled or the gateway says what won't change by trying again.
///
/// Every event is reported, in order. Returns whether the agent stopped because it was asked to.
pub async fn run(
    config: Config,
    secret: Secret,
    stop: CancellationToken,
    report: impl Fn(Event) + Send + Sync + 'static,
) -> bool {
    let report: link::Report = Arc::new(share::when_serving(&config, report));
    let domain = match Domain::of(&config.local.domain, &config.link.state) {
        Ok(domain) => domain,
        Err(error) => {
            report(Event::stopped("invalid_domain", error.to_string(), "give a domain as vault.example"));
            return false;
        }
    };
    // Ends with us.
    let mut keeping = JoinSet::new();
    if let Some(domain) = &domain {
        let report = Arc::clone(&report);
        keeping.spawn(Arc::clone(domain).keep(move |name| {
            report(Event::CertificateIssued { names: vec![name.to_string()] });
        }));
    }
    let mut backoff = Backoff::default();
    let mut keys = Keys::new(secret, &config.link);
    let mut chooser = Chooser::new(&config.link, random::number());
    let agent = Agent::new(&config, domain.as_ref(), &report);
    loop {
        let end = link::run(&agent, &mut keys, &mut chooser, &stop).await;
        let reason = end.reason();
        match next(end, &mut backoff, &*report) {
            Next::Stop { was_asked } => return was_asked,
            Next::Dial { after } => {
                if !agent.rest(&mut chooser, (after, reason), &stop).await {
                    return true;
                }
            }
        }
    }
}

/// What follows a session's end.
enum Next {
    Stop { was_asked: bool },
    Dial { after: Duration },
}

/// Reports the end of a session, and says when the next begins, if one does.
fn next(end: End, backoff: &mut Backoff, report: &dyn Fn(Event)) -> Next {
    match end {
        End::Asked => Next::Stop { was_asked: true },
        End::Drained => {
            report(Event::Draining);
            backoff.reset();
            Next::Dial { after: Duration::ZERO }
        }
        End::Refused(refusal) if refusal.repeat() == Repeat::Never => {
            report(Event::refused(&refusal));
            Next::Stop { was_asked: false }
        }
        End::Refused(refusal) => {
            let wait = backoff.next(random::number());
            let hint = refusal.retry_after().map(Duration::from).unwrap_or_default();
            let after = wait.max(hint);
            report(Event::reconnecting(after, &refusal));
            Next::Dial { after }
        }
        End::Lost { reason, was_serving, .. } => {
            if was_serving {
                backoff.reset();
            }
            let after = backoff.next(random::number());
            report(Event::reconnecting(after, &reason));
            Next::Dial { after }
        }
    }
}

/// Prints events as the command line asked for them.
pub fn printer(link: &Link) -> impl Fn(Event) + Send + Sync + 'static {
    let style = if link.json { Style::Json } else { Style::Human };
    move |event| report::print(style, &event)
}
