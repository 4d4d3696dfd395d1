//! The fields of a request on its way to the upstream: what concerned this hop goes, what strangers claim about
//! themselves goes, and what the gateway knows comes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Visitor;

/// Makes a request's fields fit for the upstream.
///
/// In this order, so that nothing a visitor sends can keep a field of ours from arriving (case R-17):
///
/// 1. Fields that `Connection` nominates are removed, and those that concern one hop only (RFC 9110 §7.6.1).
/// 2. All fields by which proxies speak about visitors are removed: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `Via` and
///    their like, also spelled with underscores, which many upstreams take for hyphens; and all of ours, `X-Adit-*`.
/// 3. Ours are set: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `Forwarded` and `Via`.
/// 4. If an upgrade was asked for and `wants_upgrade` is true of its protocol, `Connection: upgrade` and `Upgrade` are
///    set again.
///
/// `Host` stays as it came: the body's length, its type, cookies and everything else are the visitor's own affair.
/// `Transfer-Encoding` goes, since the next hop frames the body anew.
pub fn prepare_request(
    headers: &mut HeaderMap,
    visitor: &Visitor<'_>,
    wants_upgrade: impl FnOnce(&HeaderValue) -> bool,
) -> HeldBack {
    let upgrade = remove_hop_by_hop(headers).filter(wants_upgrade);
    remove_claims(headers);
    set(headers, X_FORWARDED_FOR, visitor.forwarded_for());
    set(headers, X_FORWARDED_PROTO, Some(HeaderValue::from_static(visitor.scheme())));
    set(headers, X_FORWARDED_HOST, visitor.forwarded_host());
    set(headers, X_FORWARDED_PORT, Some(visitor.forwarded_port()));
    set(headers, header::FORWARDED, visitor.forwarded());
    set(headers, header::VIA, Some(VIA));
    if let Some(protocol) = &upgrade {
        set_upgrade(headers, protocol.clone());
    }
    HeldBack { upgrade }
}

/// What [`prepare_request`] found out on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// The protocol to change to, if the visitor asked and it is wanted. What the visitor sends beyond the head belongs
    /// to that protocol, and waits until the upstream has answered 101.
    pub upgrade: Option<HeaderValue>,
}

/// Removes what concerned the hop before, and returns the protocol that the other side wants to change to, if any.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let nominated = nominated(headers);
    let upgrade = headers.remove(header::UPGRADE).filter(|_| nominated.contains(&header::UPGRADE));
    let keeps_trailers = headers.get_all(header::TE).iter().any(has_trailers);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in nominated.iter().filter(|name| !NOT_NOMINATED.contains(name)) {
        headers.remove(name);
    }
    if keeps_trailers {
        // The one member that a gateway which forwards trailers may promise itself (RFC 9110 §10.1.4).
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The fields that `Connection` names. What is no field name is passed over.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let fields = headers.get_all(header::CONNECTION).iter();
    let tokens = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()).collect()
}

fn has_trailers(value: &HeaderValue) -> bool {
    let mut members = value.as_bytes().split(|byte| *byte == b',');
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Whether a proxy, not a visitor, is supposed to write this field. Names come in lower case.
fn is_claim(name: &str) -> bool {
    let starts_like = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| is_alike(start, prefix));
    CLAIMS.iter().any(|claim| is_alike(name, claim)) || CLAIM_PREFIXES.into_iter().any(starts_like)
}

/// Equal, taking underscores for hyphens: CGI, WSGI and Rack make `HTTP_X_REAL_IP` of both.
fn is_alike(name: &str, claim: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == claim.len() && name.bytes().map(fold).eq(claim.bytes())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// The gateway's name in `Via`, a pseudonym (RFC 9110 §7.6.3).
pub(super) const VIA: HeaderValue = HeaderValue::from_static("1.1 adit");

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Without these a message means something else, so that no nomination removes them.
const NOT_NOMINATED: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING];

const CLAIMS: [&str; 11] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

const CLAIM_PREFIXES: [&str; 2] = ["x-forwarded-", "x-adit-"];

#[cfg(test)]
mod tests {
    use adit_naming::{Host, HostSource};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r17_forged_fields_are_replaced_and_ours_arrive() {
        let mut headers = fields(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "203.0.113.10"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-prefix", "/admin"),
            ("forwarded", "for=203.0.113.9"),
            ("via", "1.0 stranger"),
            ("x-real-ip", "203.0.113.9"),
            ("x_forwarded_for", "203.0.113.9"),
            ("x_adit_request_id", "forged"),
            ("x-adit-request-id", "forged"),
            ("connection", "X-Forwarded-For, forwarded, via, x-forwarded-proto"),
            ("accept", "*/*"),
        ]);
        prepare(&mut headers, "192.0.2.7:4711", "app.example:8443", true);
        assert_eq!(
            sorted(&headers),
            [
                "accept: */*",
                "forwarded: for=192.0.2.7;host=\"app.example:8443\";proto=https",
                "via: 1.1 adit",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: app.example:8443",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn r17_nominated_and_hop_by_hop_fields_go() {
        let mut headers = fields(&[
            ("connection", "close, X-Secret-Hop , host,content-length"),
            ("connection", "keep-alive,, @"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("x-secret-hop", "1"),
            ("host", "app.example"),
            ("content-length", "5"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(sorted(&headers), ["content-length: 5", "host: app.example", "te: trailers"]);
    }

    #[test]
    fn an_upgrade_is_kept_only_if_asked_for_nominated_and_wanted() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let mut headers = fields(&websocket);
        let held = prepare(&mut headers, "192.0.2.7:1", "app.example", false);
        assert_eq!(held.upgrade, Some(HeaderValue::from_static("websocket")));
        assert_eq!(headers["connection"], "upgrade");
        assert_eq!(headers["upgrade"], "websocket");

        for unwanted in [
            &[("connection", "upgrade"), ("upgrade", "h2c")][..],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade")],
        ] {
            let mut headers = fields(unwanted);
            assert_eq!(prepare(&mut headers, "192.0.2.7:1", "app.example", false), HeldBack::default());
            assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"));
        }
    }

    #[test]
    fn addresses_are_written_as_rfc_7239_wants_them() {
        for (address, plain, forwarded) in [
            ("192.0.2.7:4711", "192.0.2.7", "for=192.0.2.7;host=app.example;proto=http"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7", "for=192.0.2.7;host=app.example;proto=http"),
            ("[2001:db8::1]:443", "2001:db8::1", "for=\"[2001:db8::1]\";host=app.example;proto=http"),
        ] {
            let mut headers = HeaderMap::new();
            prepare(&mut headers, address, "App.Example.", false);
            assert_eq!(headers["x-forwarded-for"], plain);
            assert_eq!(headers["forwarded"], forwarded);
        }
    }

    proptest! {
        /// Whatever a visitor sends, each field of ours is there once, with our value.
        #[test]
        fn nothing_keeps_our_fields_from_arriving(
            sent in prop::collection::vec(("(x[-_]forwarded[-_](for|proto|host|x)|forwarded|via|connection)", "[ -~]{0,20}"), 0..12),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            prepare(&mut headers, "192.0.2.7:4711", "app.example", true);
            for (name, value) in [
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "app.example"),
                ("x-forwarded-port", "443"),
                ("forwarded", "for=192.0.2.7;host=app.example;proto=https"),
                ("via", "1.1 adit"),
            ] {
                let values: Vec<_> = headers.get_all(name).iter().collect();
                prop_assert_eq!(values, vec![value]);
            }
            prop_assert_eq!(headers.len(), 6);
        }
    }

    fn prepare(headers: &mut HeaderMap, address: &str, host: &str, is_tls: bool) -> HeldBack {
        let host = Host::parse(host.as_bytes(), HostSource::Header).unwrap();
        let visitor = Visitor::new(address.parse().unwrap(), &host, is_tls, 443);
        prepare_request(headers, &visitor, |protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn sorted(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }
}
