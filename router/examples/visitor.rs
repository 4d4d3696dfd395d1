//! A visitor's request on its way through a gateway: gate, route, fields, agent.
//!
//! `cargo run -p adit-router --features http --example visitor`

use std::error::Error;

use adit_errors::Refusal;
use adit_naming::{TunnelNameRef, Zone, Zones};
use adit_router::{Dispatch, Join, RequestGate, RouteKey, RouteTable, TunnelId, Visitor, prepare_request};
use http::Request;

fn main() -> Result<(), Box<dyn Error>> {
    let zones = Zones::new([Zone::parse("tunnel.example")?])?;
    let table = RouteTable::<&str>::new();
    let name = RouteKey::name(TunnelNameRef::parse("my-app")?).into_owned();
    table.publish(TunnelId::from_u128(1), [name], ())?;
    table.attach(TunnelId::from_u128(1), Join::Replace, "agent in the cellar")?;

    for request in [
        Request::get("/a?b")
            .header("host", "my-app.tunnel.example")
            .header("x-forwarded-for", "203.0.113.66")
            .body(())?,
        Request::get("/").header("host", "unknown.tunnel.example").body(())?,
        Request::get("http://my-app.tunnel.example/").header("host", "other.tunnel.example").body(())?,
        Request::post("/")
            .header("host", "my-app.tunnel.example")
            .header("content-length", "5, 5")
            .body(())?,
    ] {
        match forward(&zones, &table, request) {
            Ok(told) => println!("{told}"),
            Err(refusal) => {
                println!("{} {}: {}", refusal.status(), refusal.code().as_str(), refusal.message())
            }
        }
    }
    Ok(())
}

/// What would be sent to which agent.
fn forward(zones: &Zones, table: &RouteTable<&str>, mut request: Request<()>) -> Result<String, Refusal> {
    let host = RequestGate::new().admit(&request, None).map_err(|error| Refusal::from(&error))?.host;
    let not_found = || Refusal::from(adit_errors::Code::NOT_FOUND);
    let key = RouteKey::of(zones.classify(&host), |_sealed| None).ok_or_else(not_found)?;
    let tunnel = table.find(key).ok_or_else(not_found)?;

    let visitor = Visitor::new(([192, 0, 2, 7], 51515).into(), &host, false, 80);
    prepare_request(request.headers_mut(), &visitor, |protocol| protocol == "websocket");

    let offline = || Refusal::from(adit_errors::Code::TUNNEL_OFFLINE);
    let agent = Dispatch::new(4).next(&tunnel).ok_or_else(offline)?;
    let work = agent.begin().map_err(|error| Refusal::from(&error))?;
    Ok(format!("to the {}: {} {} {:?}", work.handle(), request.method(), request.uri(), request.headers()))
}
