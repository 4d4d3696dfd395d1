//! Bodies for `adit-router`: the gate, the lookup by host and the ports, each beside a naive model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adit_naming::{CustomDomainRef, Host, HostSource, TunnelNameRef, Zone, Zones};
use adit_router::{
    CookieScope, PathView, PortPool, RequestGate, RouteKey, RouteTable, Transport, TunnelId, Visitor,
    prepare_request, prepare_response,
};
use arbitrary::{Arbitrary, Unstructured};
use http::{HeaderName, HeaderValue, Request, Response, Version};

/// A head of lines `method target version` and `name: value`. What the gate admits, a naive reader of the same lines finds
/// clean, and the other way round; and whatever was sent, our fields arrive once, with our values.
pub fn router_gate(data: &[u8]) {
    let Some(request) = request_of(data) else { return };
    let admitted = RequestGate::new().admit(&request, None);
    if request.version() == Version::HTTP_11 && request.uri().authority().is_none() {
        assert_eq!(admitted.is_ok(), is_clean(&request), "{request:?} is read in two ways");
    }
    let view = PathView::new(request.uri().path());
    assert!(view.as_bytes().len() <= request.uri().path().len().max(1));
    if let Ok(admitted) = admitted {
        check_fields(request, &admitted.host);
    }
}

/// A host. The table finds a tunnel if, and only if, a naive comparison of text does.
pub fn router_lookup(data: &[u8]) {
    let zones = Zones::new([Zone::parse("tunnel.example").expect("a good zone")]).expect("one zone");
    let table = RouteTable::<()>::new();
    for (id, text) in (1..).zip(NAMES) {
        let key = match text.strip_suffix(".tunnel.example") {
            Some(name) => RouteKey::name(TunnelNameRef::parse(name).expect("a good name")),
            None => RouteKey::domain(CustomDomainRef::parse(text).expect("a good domain")),
        };
        table.publish(TunnelId::from_u128(id), [key.into_owned()], ()).expect("free keys");
    }
    let Ok(host) = Host::parse(data, HostSource::Header) else { return };
    let found = RouteKey::of(zones.classify(&host), |_| None).and_then(|key| table.find(key));
    let found = found.map(|tunnel| tunnel.id().as_u128());
    assert_eq!(found, naive_lookup(data), "{host:?}");
}

/// Steps with ports, as numbers. No port has two tunnels, whatever the order of claims, disconnects and time.
pub fn router_ports(data: &[u8]) {
    let mut pool = PortPool::new(Transport::Udp, [100..=103, 103..=104]);
    let start = Instant::now();
    let mut now = start;
    let mut live = BTreeMap::new();
    let mut input = Unstructured::new(data);
    // `arbitrary` goes on with zeros when the input has ended.
    while !input.is_empty() {
        let Ok(step) = PortStep::arbitrary(&mut input) else { return };
        let tunnel = TunnelId::from_u128(u128::from(step.tunnel % 4));
        let port = 98 + u16::from(step.port % 9);
        now += Duration::from_secs(u64::from(step.seconds));
        let lease = match step.action % 5 {
            0 => pool.claim(tunnel, port, now).ok(),
            1 => pool.claim_any(tunnel, u64::from(step.seconds), now).ok(),
            2 => {
                if let Some((_, lease)) = live.remove(&port) {
                    pool.disconnect(&lease, now);
                }
                None
            }
            3 => {
                if pool.release(tunnel, port) {
                    assert!(live.remove(&port).is_none_or(|(holder, _)| holder == tunnel));
                }
                None
            }
            _ => {
                drop(pool.reserve(tunnel, port, now));
                None
            }
        };
        if let Some(lease) = lease {
            assert!((100..=104).contains(&lease.port()));
            let before = live.insert(lease.port(), (tunnel, lease));
            assert!(before.is_none_or(|(holder, _)| holder == tunnel), "two tunnels at one port");
        }
        for (port, (holder, _)) in &live {
            assert_eq!(pool.holder(*port, now), Some(*holder));
        }
    }
}

#[derive(Arbitrary)]
struct PortStep {
    action: u8,
    tunnel: u8,
    port: u8,
    seconds: u16,
}

fn request_of(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut start = lines.next()?.split(|byte| *byte == b' ');
    let mut request = Request::builder().method(start.next()?).uri(start.next()?);
    request = request.version(match start.next()? {
        b"2" => Version::HTTP_2,
        b"1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    });
    for line in lines.take(120) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?);
    }
    request.body(()).ok()
}

/// The rules once more, in the simplest words, for HTTP/1.1 and targets without authority.
fn is_clean(request: &Request<()>) -> bool {
    let fields: Vec<(String, Vec<u8>)> =
        request.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let all = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_slice()).collect()
    };
    let method = request.method().as_str();
    let path = request.uri().path();
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let is_number = |value: &[u8]| {
        std::str::from_utf8(value).is_ok_and(|value| {
            value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok()
        })
    };
    let is_framed = match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => true,
        ([length], []) => is_number(length),
        ([], [coding]) => coding.eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    let is_hosted = match all("host").as_slice() {
        [host] => Host::parse(host, HostSource::Header).is_ok(),
        _ => false,
    };
    target <= 16_384
        && bytes + target <= 65_536
        && fields.len() <= 100
        && !matches!(method, "CONNECT" | "TRACE")
        && (path.starts_with('/') || (path == "*" && method == "OPTIONS"))
        && is_framed
        && is_hosted
        && all("expect").iter().all(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn check_fields(request: Request<()>, host: &Host) {
    let mut headers = request.headers().clone();
    let visitor = Visitor::new(([192, 0, 2, 7], 4711).into(), host, true, 443);
    prepare_request(&mut headers, &visitor, |protocol| protocol.as_bytes() == b"websocket");
    for (name, value) in
        [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https"), ("via", "1.1 adit")]
    {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, [value]);
    }
    assert_eq!(headers.get_all("forwarded").iter().count(), 1);
    assert!(!headers.contains_key("transfer-encoding") && !headers.contains_key("keep-alive"));
    assert_eq!(headers.get("host"), request.headers().get("host"));

    let mut response = Response::new(());
    *response.headers_mut() = request.headers().clone();
    if prepare_response(&mut response, CookieScope::OwnHost("my-app.tunnel.example")).is_ok() {
        assert!(!response.headers().contains_key("alt-svc"));
        for cookie in response.headers().get_all("set-cookie") {
            let text = cookie.as_bytes().to_ascii_lowercase();
            assert!(!text.ends_with(b"; domain=tunnel.example"), "a cookie for all tenants");
        }
    }
}

/// One trailing dot and a port off, capitals folded, then compared as text.
fn naive_lookup(host: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(host).ok()?.to_ascii_lowercase();
    let domain = text.split(':').next()?;
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    (1..).zip(NAMES).find(|(_, name)| *name == domain).map(|(id, _)| id)
}

const NAMES: [&str; 5] = [
    "my-app.tunnel.example",
    "api.tunnel.example",
    "a-name-that-is-longer-than-the-inline-room.tunnel.example",
    "shop.example",
    "tunnel.example.com",
];
