//! Certificates on the owner's word and on an agent's: signed for passthrough tunnels alone, asked for again, taken back.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use adit_examples::provider;
use adit_tls_modes::{CertificateRequest, KeyGenerator, PrivateKey, ServerName};
use adit_wire_proto::Protocol;
use adit_wire_proto::control::{Claim, Register, RegistrationId};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::sync::Arc;
use support::raw_agent::RawAgent;
use support::{Greeter, World, get, tls_tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const SIGN: &str = "/tunnels/my-vault/sign-csr";

#[tokio::test]
async fn c35_only_passthrough_tunnels_that_are_alive_and_ones_own_are_signed_for() {
    let world = World::start().await;
    for (name, protocol) in [("my-app", "http"), ("my-vault", "https"), ("my-grave", "https")] {
        create(&world, name, protocol).await;
    }
    assert_eq!(world.api("DELETE", "/tunnels/my-grave", Value::Null).await.0, 200);
    for (name, status, code) in [
        ("my-app", 409, "CONFLICT"),
        ("my-grave", 409, "CONFLICT"),
        ("nobody-here", 404, "NOT_FOUND"),
        ("my-vault", 201, ""),
    ] {
        let (answered, answer) =
            world.api("POST", &format!("/tunnels/{name}/sign-csr"), csr(&world, name)).await;
        assert_eq!(
            (answered, answer["error"].as_str().unwrap_or_default()),
            (status, code),
            "{name}: {answer}"
        );
    }
    for name in ["my-app", "my-grave"] {
        let (_, signed) = world.api("GET", &format!("/tunnels/{name}/certificates"), Value::Null).await;
        assert_eq!(signed, json!([]), "nothing was signed");
    }
    // A credential signs by its session alone, and there for its own registrations.
    let request = csr(&world, "my-vault");
    let (status, _, answer) = world.api_as(&world.secret, &[], "POST", SIGN, request).await;
    assert_eq!((status, &answer["error"]), (403, &json!("FORBIDDEN")));
}

#[tokio::test]
async fn c35_an_agent_gets_no_certificate_for_an_edge_tunnel_or_for_what_it_has_not_registered() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut other = world.agent(tls_tunnel(upstream.address, "my-vault"));
    other.serving().await;
    let before = signed(&world).await;
    let RawAgent { mut control, session: _session, .. } = RawAgent::enter(&world, &world.secret).await;
    let edge =
        control.register(Register::new(Protocol::HTTP, Claim::Name("my-app".to_owned()))).await.unwrap();
    let der = request(&world, "my-app").der().to_vec();
    let refused = control.sign_csr(edge.registration, der).await.unwrap_err().to_string();
    assert!(refused.contains("CONFLICT"), "{refused}");
    // Another session's, with a host that is that one's to have signed.
    let others = request(&world, "my-vault").der().to_vec();
    let not_its_own = RegistrationId::new(edge.registration.as_u64() - 1).unwrap();
    let refused = control.sign_csr(not_its_own, others).await.unwrap_err().to_string();
    assert!(refused.contains("NOT_FOUND"), "{refused}");
    assert_eq!(signed(&world).await, before);
    let (_, signed) = world.api("GET", "/tunnels/my-app/certificates", Value::Null).await;
    assert_eq!(signed, json!([]));
}

#[tokio::test]
async fn c36_a_retry_gets_the_same_certificate_and_another_request_under_its_key_gets_none() {
    let world = World::start().await;
    create(&world, "my-vault", "https").await;
    let request = csr(&world, "my-vault");
    let ask = async |key: &str, request: &Value| {
        let token = world.gateway.fresh_admin_token().unwrap().to_owned();
        let fields = [("idempotency-key", key)];
        let (status, head, answer) = world.api_as(&token, &fields, "POST", SIGN, request.clone()).await;
        (status, head.to_ascii_lowercase().contains("\r\nx-idempotent-replay: true\r\n"), answer)
    };
    let (status, is_replay, first) = ask("retry-1", &request).await;
    assert_eq!((status, is_replay), (201, false), "{first}");
    let (status, is_replay, again) = ask("retry-1", &request).await;
    assert_eq!((status, is_replay, &again), (201, true, &first));
    assert_eq!(signed(&world).await, 1);

    let (status, _, refused) = ask("retry-1", &csr(&world, "my-vault")).await;
    assert_eq!((status, &refused["error"]), (409, &json!("IDEMPOTENCY_CONFLICT")));
    assert_eq!(signed(&world).await, 1);

    let (status, is_replay, fresh) = ask("retry-2", &request).await;
    assert_eq!((status, is_replay), (201, false));
    assert_ne!(fresh["serial"], first["serial"], "another key is another certificate");
    assert_eq!(signed(&world).await, 2);
}

#[tokio::test]
async fn c28_c25_what_is_too_long_or_anothers_key_is_refused_by_code() {
    let world = World::start().await;
    create(&world, "my-vault", "https").await;
    create(&world, "your-vault", "https").await;
    let (status, refused) = world.api("POST", SIGN, json!({ "csr": "A".repeat(65_537) })).await;
    assert_eq!((status, &refused["error"]), (413, &json!("PAYLOAD_TOO_LARGE")));

    let key = new_key();
    let request = |name: &str| json!({ "csr": request_of(&world, name, &key).to_pem() });
    for _ in 0..2 {
        assert_eq!(world.api("POST", SIGN, request("my-vault")).await.0, 201, "a pinned key is renewed");
    }
    let (status, refused) = world.api("POST", "/tunnels/your-vault/sign-csr", request("your-vault")).await;
    assert_eq!((status, &refused["error"]), (403, &json!("CERTIFICATE_REFUSED")));
    let (status, refused) = world.api("POST", SIGN, request("your-vault")).await;
    assert_eq!((status, &refused["error"]), (400, &json!("VALIDATION_FAILED")), "C-04");
    assert!(refused["message"].as_str().unwrap().contains("csr_name_mismatch"), "{refused}");
}

#[tokio::test]
async fn c37_c39_of_many_at_once_ten_are_signed_with_serials_of_their_own_and_the_rest_wait() {
    let world = Arc::new(World::start().await);
    create(&world, "my-vault", "https").await;
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let world = Arc::clone(&world);
        asking.spawn(async move { world.api("POST", SIGN, csr(&world, "my-vault")).await });
    }
    let mut serials = Vec::new();
    while let Some(answered) = asking.join_next().await {
        let (status, answer) = answered.unwrap();
        if status == 201 {
            let pem = answer["certificate"].as_str().unwrap();
            CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            serials.push(answer["serial"].as_str().unwrap().to_owned());
        } else {
            assert_eq!((status, &answer["error"]), (429, &json!("CERTIFICATE_QUOTA")));
            let wait = answer["retry_after_ms"].as_u64().unwrap();
            assert!((3_000_000..=3_600_000).contains(&wait), "{answer}");
        }
    }
    serials.sort();
    serials.dedup();
    assert_eq!((serials.len(), signed(&world).await), (10, 10));
}

#[tokio::test]
async fn a_certificate_is_taken_back_by_serial_or_with_all_of_its_tunnel() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
    agent.serving().await;
    let visit = async || {
        let host = world.host("my-vault");
        let mut io = world.https_with(&host, careful_visitor(&world).await).await.ok()?;
        io.write_all(&get(&host)).await.ok()?;
        let mut reply = String::new();
        io.read_to_string(&mut reply).await.ok()?;
        Some(reply)
    };
    assert!(visit().await.unwrap().ends_with('a'));

    let (_, issued) = world.api("GET", "/tunnels/my-vault/certificates", Value::Null).await;
    let serial = issued[0]["serial"].as_str().unwrap().to_owned();
    assert_eq!((issued.as_array().unwrap().len(), &issued[0]["is_revoked"]), (1, &json!(false)));
    for (wrong, body) in
        [("xyz", Value::Null), ("00", Value::Null), (&serial, json!({ "reason": "why not" }))]
    {
        let (status, answer) = world.api("POST", &format!("/certificates/{wrong}/revoke"), body).await;
        assert_eq!((status, &answer["error"]), (400, &json!("VALIDATION_FAILED")), "{wrong}");
    }
    assert!(visit().await.is_some(), "nothing is revoked by mistake");
    let reason = json!({ "reason": "key_compromise" });
    let (status, revoked) = world.api("POST", &format!("/certificates/{serial}/revoke"), reason).await;
    assert_eq!((status, &revoked["is_revoked"]), (200, &json!(true)));
    assert_eq!(visit().await, None, "who reads the list lets it be no longer");

    // By name, all that the tunnel has.
    let (status, other) = world.api("POST", SIGN, csr(&world, "my-vault")).await;
    assert_eq!((status, &other["is_revoked"]), (201, &json!(false)));
    let (status, all) = world.api("POST", "/tunnels/my-vault/revoke-certificates", Value::Null).await;
    assert_eq!((status, all.as_array().unwrap().len()), (200, 2));
    assert!(all.as_array().unwrap().iter().all(|certificate| certificate["is_revoked"] == true), "{all}");
    let (status, _) = world.api("POST", "/tunnels/nobody-here/revoke-certificates", Value::Null).await;
    assert_eq!(status, 404);
    assert_eq!(revocations(&world).await.len(), 1);
}

async fn create(world: &World, name: &str, protocol: &str) {
    let (status, answer) = world.api("POST", "/tunnels", json!({ "name": name, "protocol": protocol })).await;
    assert_eq!(status, 201, "{answer}");
}

/// How many certificates the vault has.
async fn signed(world: &World) -> usize {
    let (_, signed) = world.api("GET", "/tunnels/my-vault/certificates", Value::Null).await;
    signed.as_array().unwrap().len()
}

/// The body of a request for a new key.
fn csr(world: &World, name: &str) -> Value {
    json!({ "csr": request(world, name).to_pem() })
}

fn request(world: &World, name: &str) -> CertificateRequest {
    request_of(world, name, &new_key())
}

fn request_of(world: &World, name: &str, key: &PrivateKey) -> CertificateRequest {
    let host: ServerName = world.host(name).parse().unwrap();
    CertificateRequest::new(&[host], key).unwrap()
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyGenerator::AWS_LC_RS, &provider()).unwrap()
}

/// A visitor who reads the authority's list first.
async fn careful_visitor(world: &World) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.gateway.anchor_pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(revocations(world).await)
        .build()
        .unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth()
}

async fn revocations(world: &World) -> Vec<CertificateRevocationListDer<'static>> {
    vec![CertificateRevocationListDer::from(world.revocation_list().await)]
}
