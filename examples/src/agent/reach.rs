//! The other way round: a tunnel of another agent, at a port of this machine.

use super::backoff::Backoff;
use super::config::Link;
use super::link::{self, End, Entered, LEAVE_DEADLINE, Secret};
use super::report::Event;
use super::{Next, next};
use crate::BoxError;
use adit_mux::{Incoming, RelayOptions, Session, Stream, relay};
use adit_wire_proto::control::Notice;
use adit_wire_proto::drive::{AgentControl, AgentEvent};
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the listener rests when the system has no socket left to give (F-16).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A tunnel of another agent, opened at a port of the loopback interface.
#[derive(Debug)]
pub struct Reach {
    name: String,
    listener: TcpListener,
}

impl Reach {
    /// Takes the local port, or any for 0. Nothing is asked of the gateway yet.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn bind(name: impl Into<String>, local_port: u16) -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local_port)).await?;
        Ok(Self { name: name.into(), listener })
    }

    /// Where the tunnel can be reached on this machine.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Carries connections until `stop` is cancelled or the gateway says what won't change by trying again. Whether the
    /// name leads anywhere is found out by each of them: a gateway tells nobody beforehand.
    ///
    /// Every event is reported, in order. Returns whether it stopped because it was asked to.
    pub async fn run(
        &self,
        link: &Link,
        secret: &Secret,
        stop: &CancellationToken,
        report: impl Fn(Event) + Send + Sync,
    ) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let end = tokio::select! {
                end = self.session(link, secret, stop, &report) => end,
                () = stop.cancelled() => return true,
            };
            match next(end, &mut backoff, &report) {
                Next::Stop { was_asked } => return was_asked,
                Next::Dial { after } => tokio::select! {
                    () = tokio::time::sleep(after) => {}
                    () = stop.cancelled() => return true,
                },
            }
        }
    }

    async fn session(
        &self,
        link: &Link,
        secret: &Secret,
        stop: &CancellationToken,
        report: &(impl Fn(Event) + Send + Sync),
    ) -> End {
        report(Event::Connecting { gateway: link.gateway.clone() });
        let Entered { session, mut incoming, mut control, settings } = match link::enter(link, secret).await {
            Ok(entered) => entered,
            Err(end) => return end,
        };
        report(Event::Connected { session: settings.session });
        if let Ok(address) = self.local_address() {
            report(Event::Reachable { name: self.name.clone(), address: address.to_string() });
        }
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => drop(tokio::spawn(carry(session.clone(), self.name.clone(), socket))),
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // Nobody visits an agent that serves nothing.
                stream = incoming.accept() => match stream {
                    Some(stream) => stream.refuse(CloseCode::UNKNOWN_TUNNEL),
                    None => return link::lost(&session.closed().await, CloseCode::NONE),
                },
                event = control.next_event() => match event {
                    Ok(AgentEvent::Noticed(Notice::Drain(drain))) => {
                        // What runs here goes on while the next session begins.
                        tokio::spawn(finish(session, incoming, control, drain.deadline));
                        return End::Drained;
                    }
                    Ok(AgentEvent::Noticed(notice)) => if let Some(refusal) = link::terminal(notice) {
                        finish(session, incoming, control, LEAVE_DEADLINE).await;
                        return End::Refused(refusal);
                    },
                    Ok(_) => {}
                    Err(error) => return link::close(&session, link::lost(&error, error.close_code())),
                },
                () = stop.cancelled() => {
                    if let Err(error) = control.leave(LEAVE_DEADLINE).await {
                        tracing::debug!(%error, "the gateway was not told that we go");
                    }
                    finish(session, incoming, control, LEAVE_DEADLINE).await;
                    return End::Asked;
                }
            }
        }
    }
}

/// Lets what runs come to its end.
async fn finish(
    session: Session,
    mut incoming: Incoming,
    mut control: AgentControl<Stream>,
    deadline: Duration,
) {
    let ended = async {
        if let Err(error) = control.finish().await {
            tracing::debug!(%error, "the control stream ended early");
        }
        session.drain(CloseCode::DRAINING, "");
        tokio::spawn(link::hear_out(control));
        while let Some(stream) = incoming.accept().await {
            stream.refuse(CloseCode::UNKNOWN_TUNNEL);
        }
        session.closed().await
    };
    let code = timeout(deadline, ended).await.map_or(CloseCode::SHUTDOWN, |_| CloseCode::DRAINING);
    session.close(code, "");
}

async fn carry(session: Session, name: String, socket: TcpStream) {
    // Without it octets come later, not wrong.
    let _ = socket.set_nodelay(true);
    let opened = async {
        let head = StreamHead::builder(Protocol::REACH).target(name).build()?;
        Ok::<_, BoxError>(session.open(head.encode()).await?)
    };
    match opened.await {
        Ok(stream) => {
            let report = relay(stream, socket, RelayOptions::default()).await;
            tracing::debug!(?report, "a connection ended");
        }
        Err(error) => tracing::debug!(%error, "a connection could not be carried"),
    }
}
