//! Fuzz bodies: plain functions, each with a property that must hold for every input.
//!
//! `cargo fuzz run NAME` drives one with libFuzzer; `cargo test -p adit-fuzz` runs all of them on the corpora that
//! are kept in the tree, so that stable Rust is enough for the tests.

pub mod acme;
pub mod connect_proxy;
pub mod errors;
pub mod mux;
pub mod naming;
pub mod octets;
pub mod policy;
pub mod proxy_protocol;
pub mod quic;
pub mod router;
pub mod tls_modes;
pub mod udp;
pub mod websocket;
pub mod wire;

/// A fuzz body: panics if, and only if, its property is broken.
pub type Body = fn(&[u8]);

/// Every target by name, as `cargo fuzz run` and the corpus folders know it.
pub const TARGETS: &[(&str, Body)] = &[
    ("acme", acme::acme),
    ("envelope", errors::envelope),
    ("idempotency_key", errors::idempotency_key),
    ("request_body", errors::request_body),
    ("mux_session", mux::mux_session),
    ("name", naming::name),
    ("host", naming::host),
    ("endpoint", naming::endpoint),
    ("key_label", naming::key_label),
    ("policy_decision", policy::policy_decision),
    ("webhook_fields", policy::webhook_fields),
    ("proxy_answer", connect_proxy::proxy_answer),
    ("proxy_settings", connect_proxy::proxy_settings),
    ("proxy_protocol", proxy_protocol::proxy_protocol),
    ("quic_initial", quic::quic_initial),
    ("router_detect", octets::router_detect),
    ("router_gate", router::router_gate),
    ("router_lookup", router::router_lookup),
    ("router_ports", router::router_ports),
    ("router_screen", octets::router_screen),
    ("udp_flows", udp::udp_flows),
    ("client_hello", tls_modes::client_hello),
    ("csr", tls_modes::csr),
    ("websocket_frames", websocket::websocket_frames),
    ("wire_frame", wire::wire_frame),
    ("wire_hello", wire::wire_hello),
    ("wire_control_message", wire::wire_control_message),
    ("wire_stream_head", wire::wire_stream_head),
    ("wire_datagram", wire::wire_datagram),
    ("wire_credential", wire::wire_credential),
    ("wire_session", wire::wire_session),
    ("wire_script", wire::wire_script),
];

/// The `main` of a target that was built without libFuzzer: runs `body` once for each file named on the command line.
///
/// # Panics
/// If a file can't be read, or if the property of `body` is broken.
pub fn replay(body: Body) {
    for path in std::env::args_os().skip(1) {
        let input = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        body(&input);
    }
}

/// Defines the entry point of a fuzz target, for libFuzzer and for a plain build alike.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $body(data));
        #[cfg(not(fuzzing))]
        fn main() {
            $crate::replay($body);
        }
    };
}
