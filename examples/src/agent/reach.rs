//! The other way round: a tunnel of another agent, at a port of this machine.

use super::backoff::Backoff;
use super::choose::{Chooser, Turn};
use super::config::Link;
use super::course::{Course, Pulse};
use super::link::{self, End, LEAVE_DEADLINE, Secret};
use super::report::Event;
use super::shift::{ended, settled};
use super::status::{Doing, StatusFile};
use super::{Next, next};
use crate::{BoxError, random};
use adit_mux::{Carrier, IncomingStream, RelayOptions, Session, relay};
use adit_wire_proto::control::{Notice, Settings};
use adit_wire_proto::drive::AgentEvent;
use adit_wire_proto::{CloseCode, Protocol, StreamHead};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
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
    /// The carrier is chosen, and left for another one, as an agent's that serves a tunnel: connections that come then go by
    /// the new session, and those before end on the old one.
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
        let mut chooser = Chooser::new(link, random::number());
        let status = StatusFile::new(&link.state);
        let trip = Trip { reach: self, link, secret, stop, report: &report, status };
        loop {
            let end = trip.session(&mut chooser).await;
            let reason = end.reason();
            match next(end, &mut backoff, &report) {
                Next::Stop { was_asked } => return was_asked,
                Next::Dial { after } => {
                    let name = Some(self.name.clone());
                    if !trip.status.rest(&mut chooser, name, (after, reason), stop).await {
                        return true;
                    }
                }
            }
        }
    }
}

/// What is the same from session to session.
struct Trip<'a> {
    reach: &'a Reach,
    link: &'a Link,
    secret: &'a Secret,
    stop: &'a CancellationToken,
    report: &'a (dyn Fn(Event) + Send + Sync),
    status: StatusFile,
}

type Entering<'a> = Pin<Box<dyn Future<Output = (Carrier, Result<(Course, Settings), End>)> + Send + 'a>>;

impl Trip<'_> {
    fn note(&self, chooser: &Chooser, doing: Doing) {
        self.status.note(chooser, doing, Some(self.reach.name.clone()));
    }

    /// Connects, and carries connections until the session ends or drains, on one carrier after the other.
    async fn session(&self, chooser: &mut Chooser) -> End {
        (self.report)(Event::Connecting { gateway: self.link.gateway.clone() });
        chooser.begin();
        let (carrier, course) = loop {
            let connected =
                link::connected(chooser, self.stop, |chooser| self.note(chooser, Doing::Dialling)).await;
            let (carrier, dialled) = match connected {
                Ok(connected) => connected,
                Err(end) => return end,
            };
            chooser.event().into_iter().for_each(self.report);
            let entered = tokio::select! {
                entered = link::enter(dialled, self.secret) => entered,
                () = self.stop.cancelled() => Err(End::Asked),
            };
            match entered {
                Ok((course, settings)) => {
                    (self.report)(Event::Connected { session: settings.session });
                    break (carrier, course);
                }
                Err(end) => {
                    if let Some(end) = link::next_carrier(chooser, carrier, end) {
                        return end;
                    }
                }
            }
        };
        chooser.ready(carrier);
        self.status.succeed();
        if let Ok(address) = self.reach.local_address() {
            let name = self.reach.name.clone();
            (self.report)(Event::Reachable { name, address: address.to_string() });
        }
        self.work(chooser, carrier, course).await
    }

    async fn work(&self, chooser: &mut Chooser, mut carrier: Carrier, mut course: Course) -> End {
        let mut moving: Option<Entering<'_>> = None;
        let mut pulse = Pulse::of(&course.session);
        loop {
            self.note(chooser, Doing::Serving);
            let lost = tokio::select! {
                accepted = self.reach.listener.accept() => {
                    match accepted {
                        Ok((socket, _)) => {
                            let name = self.reach.name.clone();
                            course.visits.spawn(carry(course.session.clone(), name, socket));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "no connection could be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                    continue;
                }
                // Nobody visits an agent that serves nothing.
                stream = course.incoming.accept() => match stream {
                    Some(stream) => {
                        refuse(stream);
                        continue;
                    }
                    None => link::lost(&course.session.closed().await, CloseCode::NONE),
                },
                event = course.control.next_event() => match event {
                    Ok(AgentEvent::Noticed(Notice::Drain(drain))) => {
                        // What runs here goes on while the next session begins.
                        tokio::spawn(course.finish(drain.deadline, refuse));
                        chooser.abandon();
                        return End::Drained;
                    }
                    Ok(AgentEvent::Noticed(notice)) => match link::terminal(notice) {
                        Some(refusal) => {
                            chooser.abandon();
                            course.finish(LEAVE_DEADLINE, refuse).await;
                            return End::Refused(refusal);
                        }
                        None => continue,
                    },
                    Ok(_) => continue,
                    Err(error) => link::close(&course.session, link::lost(&error, error.close_code())),
                },
                turn = chooser.next() => {
                    if let Turn::Connected(carrier, dialled) = turn {
                        moving = Some(Box::pin(async move { (carrier, link::enter(dialled, self.secret).await) }));
                    }
                    continue;
                }
                (to, entered) = ended(&mut moving) => {
                    moving = None;
                    if self.take_over(chooser, (&mut carrier, &mut course), to, entered) {
                        pulse = Pulse::of(&course.session);
                    }
                    continue;
                }
                rtt = pulse.beat() => {
                    chooser.note_pulse(rtt);
                    continue;
                }
                () = self.stop.cancelled() => {
                    chooser.abandon();
                    course.leave(refuse).await;
                    return End::Asked;
                }
            };
            chooser.lost(carrier, "the session was lost");
            let Some((to, entered)) = settled(moving.take(), self.stop).await else { return lost };
            if !self.take_over(chooser, (&mut carrier, &mut course), to, entered) {
                return lost;
            }
            pulse = Pulse::of(&course.session);
        }
    }

    /// Lets connections go by the new session from now on, if there is one. Whether there is.
    fn take_over(
        &self,
        chooser: &mut Chooser,
        (carrier, course): (&mut Carrier, &mut Course),
        to: Carrier,
        entered: Result<(Course, Settings), End>,
    ) -> bool {
        match entered {
            Ok((next, settings)) => {
                chooser.ready(to);
                (self.report)(Event::Connected { session: settings.session });
                let (from, to_name) = (carrier.to_string(), to.to_string());
                (self.report)(Event::Moved { from, to: to_name, generation: 0 });
                *carrier = to;
                let old = std::mem::replace(course, next);
                tokio::spawn(old.retire(refuse));
                true
            }
            Err(end) => {
                chooser.lost(to, &end.reason());
                false
            }
        }
    }
}

fn refuse(stream: IncomingStream) {
    stream.refuse(CloseCode::UNKNOWN_TUNNEL);
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
