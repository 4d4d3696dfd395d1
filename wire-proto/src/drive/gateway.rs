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

#[cfg(test)]
mod tests {
    use super::super::{AgentControl, AgentEvent, ConnectError, RequestError};
    use super::*;
    use crate::control::{
        CertificateChain, Claim, Drain, Generation, Register, Registered, RegistrationId, Request,
    };
    use crate::credential::{ChannelBinding, Credential, CredentialKind};
    use crate::{Protocol, agent};
    use adit_errors::{Code, Refusal, RequestId};
    use bytes::Bytes;
    use std::time::Duration;
    use tokio::io::DuplexStream;

    const EXPORTER: ChannelBinding = ChannelBinding::tls_exporter([7; 32]);

    fn credential() -> Credential {
        Credential::from_random(CredentialKind::CapabilityToken, 1, [3; 32])
    }

    fn options(binding: ChannelBinding) -> agent::Options {
        agent::Options::new(Offer::new("test/1", [1; 32])).with_credential(credential(), binding)
    }

    fn envelope(code: Code) -> Envelope {
        Refusal::new(code, "no").with_request_id(RequestId::from_random(1))
    }

    fn gateway(stream: DuplexStream, binding: ChannelBinding) -> GatewayControl<DuplexStream> {
        GatewayControl::accept(stream, Options::new(binding, [9; 32]))
    }

    /// Lets in whoever knows the credential.
    async fn let_in(gateway: &mut GatewayControl<DuplexStream>) {
        let offer = gateway.hello().await.unwrap();
        assert_eq!(offer.credential, Some(credential().id()));
        let authorised = gateway.check([Some(&credential().verifier()), None]).unwrap();
        gateway.welcome(&authorised, Settings::new("session-1")).await.unwrap();
    }

    async fn grant(gateway: &mut GatewayControl<DuplexStream>) {
        let Event::Requested { number, request } = gateway.next_event().await.unwrap() else { panic!() };
        let (id, generation) = (RegistrationId::FIRST, Generation::FIRST);
        match request {
            Request::Register(register) if register.claim == Claim::Name("taken".into()) => {
                gateway.refuse_request(number, envelope(Code::SUBDOMAIN_TAKEN)).unwrap();
            }
            Request::Register(_) => {
                let registered = Box::new(Registered::new(id, generation, "my-app"));
                gateway.answer(number, Answer::Registered(registered)).unwrap();
            }
            Request::SignCsr { csr, .. } => {
                let month = Duration::from_secs(30 * 86_400);
                let chain = CertificateChain::new(id, vec![csr], month, month / 2);
                gateway.answer(number, Answer::Certificate(chain)).unwrap();
            }
            Request::Unregister { .. }
            | Request::Renew { .. }
            | Request::RotateSecret { .. }
            | Request::SetStatus { .. } => panic!("{request:?}"),
        }
    }

    #[tokio::test]
    async fn both_sides_meet_register_and_drain() {
        for binding in [EXPORTER, ChannelBinding::NONE] {
            // A pipe of seven octets: every message is cut many times.
            let (near, far) = tokio::io::duplex(7);
            let serve = async {
                let mut gateway = gateway(far, binding);
                let_in(&mut gateway).await;
                for _ in 0..3 {
                    grant(&mut gateway).await;
                }
                gateway.notify(Notice::Drain(Drain::new(Duration::from_secs(5)))).unwrap();
                gateway.flush().await.unwrap();
                let end = gateway.next_event().await.unwrap_err();
                assert!(matches!(end, DriveError::Closed {}), "{end}");
            };
            let run = async {
                let (mut agent, settings) = AgentControl::connect(near, options(binding)).await.unwrap();
                assert_eq!(settings.session, "session-1");
                let taken = Register::new(Protocol::HTTP, Claim::Name("taken".into()));
                let error = agent.register(taken).await.unwrap_err();
                let RequestError::Refused { refusal } = error else { panic!("{error}") };
                assert_eq!(refusal.code(), &Code::SUBDOMAIN_TAKEN);
                let register = Register::new(Protocol::HTTP, Claim::Name("my-app".into()));
                let registered = agent.register(register).await.unwrap();
                assert_eq!(registered.name, "my-app");
                let csr = Bytes::from_static(b"csr");
                let chain = agent.sign_csr(registered.registration, csr.clone()).await.unwrap();
                assert_eq!(chain.chain, [csr]);
                let event = agent.next_event().await.unwrap();
                assert!(matches!(event, AgentEvent::Noticed(Notice::Drain(_))), "{event:?}");
                assert!(agent.is_draining());
            };
            tokio::join!(serve, run);
        }
    }

    #[tokio::test]
    async fn w18_a_refused_agent_hears_why() {
        let (near, far) = tokio::io::duplex(1024);
        let serve = async {
            let mut gateway = gateway(far, EXPORTER);
            gateway.hello().await.unwrap();
            gateway.check([None, None]).unwrap_err();
            gateway.refuse(envelope(Code::AUTH_FAILED)).await.unwrap();
        };
        let (connected, ()) = tokio::join!(AgentControl::connect(near, options(EXPORTER)), serve);
        let ConnectError::Refused { refusal } = connected.unwrap_err() else { panic!() };
        assert_eq!(refusal.code(), &Code::AUTH_FAILED);
    }

    #[tokio::test(start_paused = true)]
    async fn w17_silence_ends_the_handshake_after_ten_seconds_on_both_sides() {
        let (_silent, far) = tokio::io::duplex(1024);
        let started = now();
        let error = gateway(far, EXPORTER).hello().await.unwrap_err();
        assert_eq!(error.close_code(), crate::CloseCode::TIMEOUT);
        assert_eq!(now() - started, Duration::from_secs(10));

        let (near, _silent) = tokio::io::duplex(1024);
        let error = AgentControl::connect(near, options(EXPORTER)).await.unwrap_err();
        let ConnectError::Failed(error) = error else { panic!("{error}") };
        assert_eq!(error.close_code(), crate::CloseCode::TIMEOUT);
        assert_eq!(now() - started, Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn w17_one_octet_a_second_ends_the_handshake_after_ten_seconds_too() {
        use tokio::io::AsyncWriteExt;
        let (mut slow, far) = tokio::io::duplex(1024);
        let started = now();
        let drip = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            for octet in [0, 0, 0, 200].into_iter().chain(std::iter::repeat_n(0, 30)) {
                tick.tick().await;
                if slow.write_u8(octet).await.is_err() {
                    return;
                }
            }
        };
        let wait = async {
            let error = gateway(far, EXPORTER).hello().await.unwrap_err();
            assert_eq!(error.close_code(), crate::CloseCode::TIMEOUT);
            assert_eq!(now() - started, Duration::from_secs(10));
        };
        tokio::join!(drip, wait);
    }

    #[tokio::test]
    async fn a_dropped_request_loses_nothing_but_its_own_answer() {
        let (near, far) = tokio::io::duplex(1024);
        let serve = async {
            let mut gateway = gateway(far, EXPORTER);
            let_in(&mut gateway).await;
            for _ in 0..2 {
                grant(&mut gateway).await;
            }
            gateway.flush().await.unwrap();
            gateway
        };
        let run = async {
            let (mut agent, _) = AgentControl::connect(near, options(EXPORTER)).await.unwrap();
            let first = Register::new(Protocol::HTTP, Claim::Assigned);
            let mut dropped = Box::pin(agent.register(first));
            let once = std::future::poll_fn(|cx| {
                let _ = dropped.as_mut().poll(cx);
                std::task::Poll::Ready(())
            });
            once.await;
            drop(dropped);
            let taken = Register::new(Protocol::HTTP, Claim::Name("taken".into()));
            let error = agent.register(taken).await.unwrap_err();
            assert!(matches!(error, RequestError::Refused { .. }), "{error}");
        };
        tokio::join!(serve, run);
    }
}
