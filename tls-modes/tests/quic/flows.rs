use std::net::SocketAddr;
use std::time::Duration;

use adit_tls_modes::{ConnectionId, FlowId, FlowLimits, FlowTable, Reply};

use crate::client::{V1, V2, opaque, short};
use crate::initial::now;

const CHOSEN_BY_CLIENT: &[u8] = b"by client";
const RETRY: &[u8] = b"by retry";
const SERVER: &[u8] = b"by server";

#[test]
fn q26_an_initial_after_retry_has_the_same_route() {
    for (version, retry) in [(V1, 0xf0), (V2, 0xc0)] {
        let (mut table, flow) = table_with_flow();
        let again = initial(version, RETRY);
        assert_eq!(table.receive(now(), peer(1), &again), None);
        let answer = [&long(retry, version, RETRY)[..], &[9; 60]].concat();
        assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &answer), Reply::Send);
        assert_eq!(table.receive(now(), peer(1), &again), Some(flow));
        assert_eq!(table.route(flow), Some(&"tunnel"));
    }
}

#[test]
fn q27_a_client_that_changes_its_port_keeps_its_route() {
    let (mut table, flow) = table_with_flow();
    // Before the server was heard of.
    assert_eq!(table.receive(now(), peer(2), &initial(V1, CHOSEN_BY_CLIENT)), Some(flow));
    assert_eq!(table.receive_from_upstream(now(), flow, peer(2), &server_initial()), Reply::Send);
    // In the handshake, with 0-RTT, and after.
    assert_eq!(table.receive(now(), peer(3), &opaque(0xe0, V1, SERVER, b"me", 200)), Some(flow));
    assert_eq!(table.receive(now(), peer(4), &opaque(0xd0, V1, CHOSEN_BY_CLIENT, b"me", 200)), Some(flow));
    for port in 5..20 {
        assert_eq!(table.receive(now(), peer(port), &short(SERVER, 30)), Some(flow), "port {port}");
    }
    // Of a change of id that it could not see (NEW_CONNECTION_ID is encrypted), it learns by the address.
    assert_eq!(table.receive(now(), peer(19), &short(b"new id 12", 30)), Some(flow));
    assert_eq!(table.receive(now(), peer(77), &short(b"new id 12", 30)), Some(flow));
    assert_eq!(table.receive(now(), peer(88), &short(b"strange99", 30)), None);
}

/// RFC 9287: half of what a connection sends after its handshake then has the bit cleared, and quinn does so.
#[test]
fn q28_the_fixed_bit_may_be_zero_once_the_connection_is_known() {
    let (mut table, flow) = table_with_flow();
    let mut answer = server_initial();
    answer[0] &= !0x40;
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &answer), Reply::Send);
    let mut handshake = opaque(0xe0, V1, SERVER, b"me", 200);
    handshake[0] &= !0x40;
    assert_eq!(table.receive(now(), peer(2), &handshake), Some(flow));
    for port in [1, 2, 3] {
        let mut greased = short(SERVER, 30);
        greased[0] &= !0x40;
        assert_eq!(table.receive(now(), peer(port), &greased), Some(flow), "port {port}");
    }
    let mut strange = short(b"strange99", 30);
    strange[0] &= !0x40;
    assert_eq!(table.receive(now(), peer(88), &strange), None);
}

#[test]
fn q24_an_address_that_never_answered_gets_three_times_its_bytes() {
    let mut table = FlowTable::new(FlowLimits::new());
    let flow = table.insert(now(), peer(1), id(CHOSEN_BY_CLIENT), "tunnel").unwrap();
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &[0]), Reply::Withhold);
    let first = initial(V1, CHOSEN_BY_CLIENT);
    table.receive(now(), peer(1), &first);
    let mut sent = 0;
    for _ in 0..1000 {
        if table.receive_from_upstream(now(), flow, peer(1), &server_initial()) == Reply::Send {
            sent += server_initial().len();
        }
    }
    assert!(sent <= 3 * first.len() && sent > 2 * first.len());
    // Another Initial to the client's own id proves nothing: any spoofer could write it.
    table.receive(now(), peer(1), &first);
    assert_eq!(
        table.receive_from_upstream(now(), flow, peer(1), &vec![0x41; 6 * first.len()]),
        Reply::Withhold
    );
    // The server's id does.
    table.receive(now(), peer(1), &opaque(0xe0, V1, SERVER, b"me", 50));
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &vec![0x41; 60_000]), Reply::Send);
    // A new address begins anew, and a stranger's gets nothing.
    assert_eq!(table.receive_from_upstream(now(), flow, peer(9), &[0x41; 100]), Reply::Withhold);
    let moved = short(SERVER, 31);
    table.receive(now(), peer(2), &moved);
    assert_eq!(table.receive_from_upstream(now(), flow, peer(2), &vec![0x41; 3 * moved.len()]), Reply::Send);
    assert_eq!(table.receive_from_upstream(now(), flow, peer(2), &[0x41]), Reply::Withhold);
    table.receive(now(), peer(2), &moved);
    assert_eq!(table.receive_from_upstream(now(), flow, peer(2), &vec![0x41; 60_000]), Reply::Send);
}

#[test]
fn a_server_cannot_take_the_id_of_another_flow() {
    let (mut table, flow) = table_with_flow();
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &server_initial()), Reply::Send);
    let thief = table.insert(now(), peer(66), id(b"id of the thief"), "thief").unwrap();
    table.receive(now(), peer(66), &initial(V1, b"id of the thief"));
    for stolen in [SERVER, CHOSEN_BY_CLIENT, &SERVER[..1], &[]] {
        let answer = opaque(0xe0, V1, b"me", stolen, 60);
        assert_eq!(table.receive_from_upstream(now(), thief, peer(66), &answer), Reply::Send);
    }
    assert_eq!(table.receive(now(), peer(1), &short(SERVER, 30)), Some(flow));
    assert_eq!(table.receive(now(), peer(3), &short(SERVER, 30)), Some(flow));
    assert_eq!(table.receive(now(), peer(1), &initial(V1, CHOSEN_BY_CLIENT)), Some(flow));
    assert_eq!(table.insert(now(), peer(5), id(SERVER), "second"), None);
    // Nor does it lose them when the thief goes.
    assert_eq!(table.remove(thief), Some("thief"));
    assert_eq!(table.receive(now(), peer(3), &short(SERVER, 30)), Some(flow));
}

#[test]
fn servers_with_short_ids_are_found_by_an_address_with_one_flow() {
    for server in [&b""[..], b"4byt"] {
        let (mut table, flow) = table_with_flow();
        let answer = opaque(0xc0, V1, b"me", server, 100);
        assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &answer), Reply::Send);
        assert_eq!(table.receive(now(), peer(1), &opaque(0xe0, V1, server, b"me", 50)), Some(flow));
        assert_eq!(table.receive(now(), peer(1), &short(server, 50)), Some(flow));
        assert_eq!(table.receive(now(), peer(2), &short(server, 50)), None);
        // With a second flow there is no telling.
        table.insert(now(), peer(1), id(b"a second one"), "other").unwrap();
        assert_eq!(table.receive(now(), peer(1), &short(server, 50)), None);
    }
}

#[test]
fn silent_flows_are_dropped_in_their_time() {
    let (mut table, flow) = table_with_flow();
    let other = table.insert(now(), peer(2), id(b"another flow"), "other").unwrap();
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &server_initial()), Reply::Send);
    assert_eq!(table.receive(now(), peer(1), &short(SERVER, 30)), Some(flow));
    assert_eq!(table.poll_timeout(), Some(now() + seconds(10)));
    table.handle_timeout(now() + seconds(10));
    assert_eq!((table.route(other), table.len()), (None, 1));
    assert_eq!(table.receive(now() + seconds(60), peer(1), &short(SERVER, 30)), Some(flow));
    table.handle_timeout(now() + seconds(179));
    assert_eq!(table.len(), 1);
    assert_eq!(table.poll_timeout(), Some(now() + seconds(180)));
    assert_eq!(table.receive(now() + seconds(180), peer(1), &short(SERVER, 30)), None);
    assert!(table.is_empty() && table.poll_timeout().is_none());
}

#[test]
fn q25_new_flows_push_out_only_flows_without_a_genuine_address() {
    let limits = FlowLimits::new().max_unvalidated(100).max_validated(3);
    let mut table = FlowTable::new(limits);
    let established = table.insert(now(), peer(1), id(CHOSEN_BY_CLIENT), 0).unwrap();
    table.receive(now(), peer(1), &initial(V1, CHOSEN_BY_CLIENT));
    assert_eq!(table.receive_from_upstream(now(), established, peer(1), &server_initial()), Reply::Send);
    table.receive(now(), peer(1), &short(SERVER, 30));
    for number in 1..100_000_u32 {
        let destination = u64::from(number).to_be_bytes();
        table.insert(now(), peer(2), id(&destination), number).unwrap();
        assert!(table.len() <= 101);
    }
    assert!(table.is_crowded());
    assert_eq!(table.receive(now(), peer(7), &short(SERVER, 30)), Some(established));
    // Among genuine ones the one that was silent for longest gives way.
    for number in 200_000..200_003_u32 {
        let destination = u64::from(number).to_be_bytes();
        let later = now() + seconds(u64::from(number) - 199_990);
        let flow =
            table.insert(later, peer(number.try_into().unwrap_or(9)), id(&destination), number).unwrap();
        let peer = peer(number.try_into().unwrap_or(9));
        table.receive(later, peer, &initial(V1, &destination));
        let server = [b"server".to_vec(), number.to_be_bytes().to_vec()].concat();
        let answer = opaque(0xe0, V1, b"me", &server, 60);
        assert_eq!(table.receive_from_upstream(later, flow, peer, &answer), Reply::Send);
        assert_eq!(table.receive(later, peer, &short(&server, 30)), Some(flow));
    }
    assert_eq!(table.route(established), None);
}

#[test]
fn closing_a_tunnel_takes_its_flows_out() {
    let (mut table, flow) = table_with_flow();
    let other = table.insert(now(), peer(2), id(b"another flow"), "other").unwrap();
    table.retain(|route| *route != "tunnel");
    assert_eq!((table.route(flow), table.route(other)), (None, Some(&"other")));
    assert_eq!(table.receive(now(), peer(1), &initial(V1, CHOSEN_BY_CLIENT)), None);
    assert_eq!(table.receive_from_upstream(now(), flow, peer(1), &server_initial()), Reply::Withhold);
}

fn table_with_flow() -> (FlowTable<&'static str>, FlowId) {
    let mut table = FlowTable::new(FlowLimits::new());
    let flow = table.insert(now(), peer(1), id(CHOSEN_BY_CLIENT), "tunnel").unwrap();
    assert_eq!(table.receive(now(), peer(1), &initial(V1, CHOSEN_BY_CLIENT)), Some(flow));
    (table, flow)
}

fn initial(version: u32, destination: &[u8]) -> Vec<u8> {
    opaque(if version == V2 { 0xd0 } else { 0xc0 }, version, destination, b"me", 1200)
}

fn server_initial() -> Vec<u8> {
    opaque(0xc0, V1, b"me", SERVER, 100)
}

/// A long header alone, to the client.
fn long(first: u8, version: u32, source: &[u8]) -> Vec<u8> {
    let mut header = vec![first];
    header.extend(version.to_be_bytes());
    header.extend(b"\x02me");
    header.push(source.len() as u8);
    header.extend(source);
    header
}

fn id(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

pub fn peer(port: u16) -> SocketAddr {
    ([192, 0, 2, 7], port).into()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
