//! An agent and a gateway meet over a pipe: hello, welcome, a registration, a refusal, a drain.
//!
//! `cargo run -p adit-wire-proto --features tokio --example handshake`

use adit_errors::{Code, Refusal, RequestId};
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{
    Answer, Claim, Drain, Generation, Notice, Offer, Register, Registered, RegistrationId, Request, Settings,
};
use adit_wire_proto::credential::{ChannelBinding, Credential, CredentialKind, Verifier};
use adit_wire_proto::drive::{AgentControl, AgentEvent, GatewayControl, RequestError};
use adit_wire_proto::{agent, gateway};
use std::error::Error;
use std::time::Duration;
use tokio::io::DuplexStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Numbers that a real program takes from the operating system, and an exporter that it takes from TLS.
    let credential = Credential::from_random(CredentialKind::CapabilityToken, 0x0123_4567_89ab_cdef, [7; 32]);
    let binding = ChannelBinding::tls_exporter([5; 32]);
    let (near, far) = tokio::io::duplex(1024);
    let verifier = credential.verifier();
    tokio::try_join!(run_agent(near, credential, binding), run_gateway(far, verifier, binding))?;
    Ok(())
}

async fn run_agent(
    stream: DuplexStream,
    credential: Credential,
    binding: ChannelBinding,
) -> Result<(), Box<dyn Error>> {
    let offer = Offer::new("example-agent/1.0", [1; 32]);
    let options = agent::Options::new(offer).with_credential(credential, binding);
    let (mut control, settings) = AgentControl::connect(stream, options).await?;
    println!("agent: welcome to {}", settings.session);

    let registered = control.register(Register::new(Protocol::HTTP, Claim::Name("my-app".into()))).await?;
    println!("agent: visitors come in at {}", registered.addresses.join(", "));

    match control.register(Register::new(Protocol::HTTP, Claim::Name("taken".into()))).await {
        Err(RequestError::Refused { refusal }) => {
            println!("agent: {}: {}; so {}", refusal.code(), refusal.message(), refusal.next_action());
        }
        other => println!("agent: unexpected: {other:?}"),
    }

    let event = control.next_event().await?;
    if let AgentEvent::Noticed(Notice::Drain(drain)) = event {
        println!(
            "agent: draining, {} s left; next: {}",
            drain.deadline.as_secs(),
            drain.reconnect.join(", ")
        );
    }
    Ok(())
}

async fn run_gateway(
    stream: DuplexStream,
    verifier: Verifier,
    binding: ChannelBinding,
) -> Result<(), Box<dyn Error>> {
    let mut control = GatewayControl::accept(stream, gateway::Options::new(binding, [2; 32]));
    let offer = control.hello().await?;
    println!("gateway: hello from {}", offer.software);
    // A real gateway looks the verifier up by `offer.credential`.
    let authorised = control.check([Some(&verifier), None])?;
    control.welcome(&authorised, Settings::new("session-1")).await?;
    for _ in 0..2 {
        if let gateway::Event::Requested { number, request: Request::Register(register) } =
            control.next_event().await?
        {
            if register.claim == Claim::Name("taken".into()) {
                let refusal = Refusal::new(Code::SUBDOMAIN_TAKEN, "the name is taken");
                control.refuse_request(number, refusal.with_request_id(RequestId::from_random(1)))?;
            } else {
                control.answer(number, grant(&register.claim))?;
            }
        }
    }
    let drain = Drain::new(Duration::from_secs(30)).with_hints(vec!["gw2.example.com:443".into()]);
    control.notify(Notice::Drain(drain))?;
    control.finish().await?;
    Ok(())
}

fn grant(claim: &Claim) -> Answer {
    let name = if let Claim::Name(name) = claim { name } else { "any" };
    let mut registered = Registered::new(RegistrationId::FIRST, Generation::FIRST, name);
    registered.addresses.push(format!("https://{name}.example.com"));
    Answer::Registered(Box::new(registered))
}
