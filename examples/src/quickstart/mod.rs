//! An upstream, a gateway and agents on the loopback interface, and a visitor who tries everything.

mod acme;
mod auto;
mod carriers;
mod clients;
mod http3;
mod keys;
mod owner;
mod pattern;
mod reach;
mod rows;
mod sharing;
mod table;
mod tls_rows;
mod udp;
mod upstream;
mod visitor;
mod world;

use crate::BoxError;
use adit_mux::Carrier;
use clap::Parser;
use table::Table;
use world::World;

/// Starts an upstream, a gateway and agents on this machine, plays visitor, and prints what held.
#[derive(Clone, Debug, Parser)]
#[command(name = "quickstart", version, about)]
pub struct Config {
    /// Stay up afterwards, and print addresses for curl.
    #[arg(long)]
    pub serve: bool,
}

/// Runs every row. `Ok(true)` only if all of them hold.
///
/// # Errors
/// What kept the gateway, the upstream or an agent from starting.
pub async fn run(config: Config) -> Result<bool, BoxError> {
    let mut world = World::start().await?;
    let mut table = Table::default();
    println!("{}", Table::heading());
    table.row("HTTP by host, forwarding fields rewritten", rows::http_by_host(&world)).await;
    table.row("HTTPS ended at the edge", rows::https_at_the_edge(&world)).await;
    table.row("HTTPS passed through to the agent's key", rows::https_passthrough(&world)).await;
    table.row("HTTPS, ClientHello an octet at a time", rows::dripped_client_hello(&world)).await;
    table.row("edge certificate swapped under visitors", tls_rows::certificate_swapped(&world)).await;
    table.row("mutual TLS, asked for by name", tls_rows::mutual_tls(&world)).await;
    table.row("HTTP/3 passed through to the agent's key", tls_rows::http3_passthrough(&world)).await;
    table.row("PROXY header in and out", tls_rows::proxy_protocol(&world)).await;
    table.row("edge host certified by ACME, http-01", acme::edge_by_http_01(world.folder())).await;
    table.row("agent's request by ACME, tls-alpn-01", acme::request_by_tls_alpn_01(world.folder())).await;
    table.row("owner's domain, ACME at the agent itself", acme::own_domain(world.folder())).await;
    table.row("agent's certificate renewed as it serves", acme::renewal(world.folder())).await;
    table.row("WebSocket echo", rows::websocket(&world)).await;
    table.row("server-sent events, one by one", rows::server_sent_events(&world)).await;
    table.row("TCP echo with half-close", rows::tcp_echo(&world)).await;
    table.row("UDP echo over native", udp::echo(&mut world, Carrier::Native)).await;
    table.row("UDP echo over WebSocket", udp::echo(&mut world, Carrier::WebSocket)).await;
    table.row("UDP echo over HTTP/2", udp::echo(&mut world, Carrier::Http2)).await;
    table.row("UDP echo over QUIC", udp::echo(&mut world, Carrier::Quic)).await;
    table.row("HTTP and TCP by native", carriers::http_and_tcp(&world, Carrier::Native)).await;
    table.row("HTTP and TCP by QUIC", carriers::http_and_tcp(&world, Carrier::Quic)).await;
    table.row("HTTP and TCP by HTTP/2", carriers::http_and_tcp(&world, Carrier::Http2)).await;
    table.row("HTTP and TCP by WebSocket", carriers::http_and_tcp(&world, Carrier::WebSocket)).await;
    table.row("100 MiB up, digests equal", rows::large_upload(&world)).await;
    table.row("100 MiB down, digests equal", rows::large_download(&world)).await;
    table.row("1,000 requests at once", rows::crowd(&world)).await;
    table.row("one visitor stalls, 50 beside it don't", rows::stalled_visitor(&world)).await;
    table.row("upstream down: 502 with an envelope", rows::upstream_down(&world)).await;
    table.row("unknown host: 404 with an envelope", rows::unknown_host(&world)).await;
    table.row("agent killed, restarted, traffic again", rows::agent_restart(&mut world)).await;
    table.row("visitors' token: 401 without, never upstream", owner::bearer(&mut world)).await;
    table.row("share: its link, its methods, revoked", owner::share(&world)).await;
    table.row("paused: 503, resumed", owner::pause(&world)).await;
    table.row("deleted: 404, its name waits, restored", owner::delete_and_restore(&world)).await;
    table.row("asleep: two visits wake it once, served", owner::wake(&mut world)).await;
    table.row("webhook receiver: signed, unsigned, polled", owner::webhooks(&world)).await;
    table.row("budget spent: refused until an owner raises", owner::budget(&mut world)).await;
    table.row("reserved port: nobody else gets it", owner::reserved_port(&mut world)).await;
    table.row("auto port: HTTP and SSH told apart", auto::told_apart(&mut world)).await;
    table.row("private: reached by owner and by grant", reach::private(&mut world)).await;
    table.row("{port}-{key}: allowed ports and no other", keys::ports(&mut world)).await;
    table.row("two agents share one name, one is killed", sharing::one_name(&mut world)).await;
    println!("{}", table.summary());
    if config.serve {
        world.describe();
        tokio::signal::ctrl_c().await?;
    }
    world.stop().await;
    Ok(table.holds())
}
