//! The agent's side, driven.

use super::pump::{Pump, now};
use super::{ConnectError, DriveError, RequestError};
use crate::agent::{Control, Event, Options};
use crate::control::{
    Answer, CertificateChain, CommandError, ControlError, Notice, Register, Registered, RegistrationId,
    Request, RequestNumber, RotatedSecret, Settings,
};
use adit_errors::Envelope;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// The agent's side of a control stream.
///
/// Every method is cancel-safe: a dropped future loses nothing that was received. A request whose future is dropped
/// may have been sent; its answer is then dropped too.
#[derive(Debug)]
pub struct AgentControl<S> {
    pump: Pump<S, Control>,
    /// Events that came while a request was waited for; at most [`MAX_WAITING`], then the session ends.
    waiting: VecDeque<AgentEvent>,
    /// Requests whose futures were dropped; a part of those that the machine counts.
    abandoned: BTreeSet<RequestNumber>,
    /// The request that a future waits for, or waited for when it was dropped.
    awaited: Option<RequestNumber>,
}

/// What a gateway says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The answer to a [`submit`](AgentControl::submit).
    Answered {
        /// The request.
        number: RequestNumber,
        /// The answer, or why there is none.
        answer: Result<Answer, Envelope>,
    },
    /// Something that nobody asked for. After [`Notice::Terminate`] the stream has ended: don't come back.
    Noticed(Notice),
}

/// More notices than any gateway has to give while one request is answered.
const MAX_WAITING: usize = 256;

impl<S: AsyncRead + AsyncWrite + Unpin> AgentControl<S> {
    /// Says hello on a stream that was just opened, and waits for the welcome.
    ///
    /// On the native carrier the stream's head is [`StreamHead::control`](crate::StreamHead::control), which travels
    /// in the OPEN and not in `stream`.
    ///
    /// # Errors
    /// [`ConnectError::Refused`] with what to do next, or [`ConnectError::Failed`], after the handshake's deadline (10 s
    /// by default) at the latest.
    pub async fn connect(stream: S, options: Options) -> Result<(Self, Settings), ConnectError> {
        let machine = Control::new(options, now()).map_err(DriveError::from)?;
        let mut pump = Pump::new(stream, machine);
        match pump.next_event().await? {
            Event::Welcomed(settings) => {
                let (waiting, abandoned) = (VecDeque::new(), BTreeSet::new());
                Ok((Self { pump, waiting, abandoned, awaited: None }, settings))
            }
            Event::Refused(refusal) => Err(ConnectError::Refused { refusal: Box::new(refusal) }),
            // The machine gives nothing else before the welcome.
            Event::Answered { .. } | Event::Noticed(_) => Err(DriveError::from(ControlError::Ended).into()),
        }
    }

    /// Asks for a tunnel.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn register(&mut self, register: Register) -> Result<Registered, RequestError> {
        let Answer::Registered(registered) = self.request(Request::Register(Box::new(register))).await?
        else {
            return Err(mismatch());
        };
        Ok(*registered)
    }

    /// Ends a registration.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn unregister(&mut self, registration: RegistrationId) -> Result<(), RequestError> {
        self.request(Request::Unregister { registration }).await.map(drop)
    }

    /// Asks for more time for a registration, as long as before if `ttl` is `None`; gives what was granted.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn renew(
        &mut self,
        registration: RegistrationId,
        ttl: Option<Duration>,
    ) -> Result<Option<Duration>, RequestError> {
        let Answer::Renewed { ttl, .. } = self.request(Request::Renew { registration, ttl }).await? else {
            return Err(mismatch());
        };
        Ok(ttl)
    }

    /// Asks for a certificate; `csr` is PKCS #10 as DER.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn sign_csr(
        &mut self,
        registration: RegistrationId,
        csr: impl Into<Bytes>,
    ) -> Result<CertificateChain, RequestError> {
        let Answer::Certificate(chain) =
            self.request(Request::SignCsr { registration, csr: csr.into() }).await?
        else {
            return Err(mismatch());
        };
        Ok(chain)
    }

    /// Asks for a new secret in the place of the session's own, which is to stay good for `overlap`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn rotate_secret(&mut self, overlap: Duration) -> Result<RotatedSecret, RequestError> {
        let Answer::RotatedSecret(rotated) = self.request(Request::RotateSecret { overlap }).await? else {
            return Err(mismatch());
        };
        Ok(rotated)
    }

    /// Sends a request and waits for its answer; events that come meanwhile are kept for
    /// [`next_event`](Self::next_event).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&mut self, request: Request) -> Result<Answer, RequestError> {
        // A future that was dropped has left its number here: nobody wants that answer any more.
        self.abandoned.extend(self.awaited.take());
        let number = self.submit(request)?;
        self.awaited = Some(number);
        loop {
            let event = self.receive().await.map_err(RequestError::Failed)?;
            let AgentEvent::Answered { number: answered, answer } = event else {
                self.keep(event)?;
                continue;
            };
            if answered != number {
                self.keep(AgentEvent::Answered { number: answered, answer })?;
                continue;
            }
            self.awaited = None;
            return answer.map_err(|refusal| RequestError::Refused { refusal: Box::new(refusal) });
        }
    }

    /// Queues a request; [`next_event`](Self::next_event) sends it and gives its answer.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn submit(&mut self, request: Request) -> Result<RequestNumber, CommandError> {
        self.pump.machine.request(now(), request)
    }

    /// Tells the gateway that the agent goes; the open streams are served for `deadline` more.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn leave(&mut self, deadline: Duration) -> Result<(), DriveError> {
        self.pump.machine.leave(now(), deadline)?;
        self.pump.flush().await
    }

    /// Sends what is queued, and closes our direction of the stream: the agent has nothing more to ask for.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn finish(&mut self) -> Result<(), DriveError> {
        self.pump.finish().await
    }

    /// What the gateway says next.
    ///
    /// # Errors
    /// [`DriveError`]: the stream is over, also at the deadline of a drain.
    pub async fn next_event(&mut self) -> Result<AgentEvent, DriveError> {
        self.abandoned.extend(self.awaited.take());
        match self.waiting.pop_front() {
            Some(event) => Ok(event),
            None => self.receive().await,
        }
    }

    /// Whether the session drains: no new registration is taken.
    pub const fn is_draining(&self) -> bool {
        self.pump.machine.is_draining()
    }

    fn keep(&mut self, event: AgentEvent) -> Result<(), RequestError> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(RequestError::Failed(ControlError::Excessive.into()));
        }
        self.waiting.push_back(event);
        Ok(())
    }

    /// The next event whose request, if it has one, somebody still waits for.
    async fn receive(&mut self) -> Result<AgentEvent, DriveError> {
        loop {
            match self.pump.next_event().await? {
                Event::Answered { number, .. } if self.abandoned.remove(&number) => {}
                Event::Answered { number, answer } => return Ok(AgentEvent::Answered { number, answer }),
                Event::Noticed(notice) => return Ok(AgentEvent::Noticed(notice)),
                // The machine gives neither after the welcome.
                Event::Welcomed(_) | Event::Refused(_) => {}
            }
        }
    }
}

/// The machine has compared the kinds of request and answer: this isn't reached.
fn mismatch() -> RequestError {
    RequestError::Command { source: CommandError::NoSuchRequest }
}
