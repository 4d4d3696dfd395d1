//! The gateway's side, driven.

use super::DriveError;
use super::pump::{Pump, now};
use crate::control::{Answer, CommandError, ControlError, Notice, Offer, RequestNumber, Settings};
use crate::credential::{Verifier, WrongCredential};
use crate::gateway::{Authorised, Control, Event, Options};
use adit_errors::Envelope;
use tokio::io::{AsyncRead, AsyncWrite};

/// The gateway's side of a control stream.
///
/// Call [`hello`](Self::hello) first; then [`check`](Self::check) and [`welcome`](Self::welcome), or
/// [`refuse`](Self::refuse); then [`next_event`](Self::next_event) again and again. Answers and notices are queued at
/// once, and sent while `next_event` or [`flush`](Self::flush) is awaited. Every method is cancel-safe.
#[derive(Debug)]
pub struct GatewayControl<S> {
    pump: Pump<S, Control>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> GatewayControl<S> {
    /// Takes over a control stream that an agent has just opened. The handshake's time starts now.
    ///
    /// On the native carrier the stream's head has been read from the OPEN, and was a
    /// [`CONTROL`](crate::Protocol::CONTROL).
    pub fn accept(stream: S, options: Options) -> Self {
        Self { pump: Pump::new(stream, Control::new(options, now())) }
    }

    /// Waits for the agent's hello, and its proof if a challenge is needed.
    ///
    /// # Errors
    /// [`DriveError`], after the handshake's deadline (10 s by default) at the latest.
    pub async fn hello(&mut self) -> Result<Offer, DriveError> {
        match self.pump.next_event().await? {
            Event::Hello(offer) => Ok(offer),
            // The machine gives nothing else first.
            Event::Requested { .. } | Event::Leaving { .. } => Err(ControlError::Ended.into()),
        }
    }

    /// Checks the proof; see [`Control::check`].
    ///
    /// # Errors
    /// [`WrongCredential`]: [`refuse`](Self::refuse) it, after
    /// [`failure_delay`](crate::credential::failure_delay).
    pub fn check(&self, candidates: [Option<&Verifier>; 2]) -> Result<Authorised, WrongCredential> {
        self.pump.machine.check(candidates)
    }

    /// Lets the agent in.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn welcome(&mut self, authorised: &Authorised, settings: Settings) -> Result<(), DriveError> {
        self.pump.machine.welcome(authorised, settings)?;
        self.pump.flush().await
    }

    /// Turns the agent away and closes the stream.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn refuse(&mut self, refusal: Envelope) -> Result<(), DriveError> {
        self.pump.machine.refuse(refusal)?;
        self.pump.finish().await
    }

    /// What the agent wants next. Sends what is queued meanwhile.
    ///
    /// # Errors
    /// [`DriveError`]: the stream is over, also at the deadline of a drain.
    pub async fn next_event(&mut self) -> Result<Event, DriveError> {
        self.pump.next_event().await
    }

    /// Queues the answer to a request.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn answer(&mut self, number: RequestNumber, answer: Answer) -> Result<(), CommandError> {
        self.pump.machine.answer(number, answer)
    }

    /// Queues the refusal of a request. The session lives.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn refuse_request(&mut self, number: RequestNumber, refusal: Envelope) -> Result<(), CommandError> {
        self.pump.machine.refuse_request(number, refusal)
    }

    /// Queues a notice. [`Notice::Drain`] starts the drain; after [`Notice::Terminate`] only
    /// [`finish`](Self::finish) makes sense.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn notify(&mut self, notice: Notice) -> Result<(), CommandError> {
        self.pump.machine.notify(now(), notice)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn flush(&mut self) -> Result<(), DriveError> {
        self.pump.flush().await
    }

    /// Sends what is queued, and closes our direction of the stream.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn finish(&mut self) -> Result<(), DriveError> {
        self.pump.finish().await
    }

    /// Whether the session drains, on either side's wish.
    pub const fn is_draining(&self) -> bool {
        self.pump.machine.is_draining()
    }
}
