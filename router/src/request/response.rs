//! The fields of an answer on its way to the visitor: no tenant may bind what all tenants share.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::fields::{VIA, remove_hop_by_hop, set_upgrade};
use super::framing::{self, Framing};

/// Makes an answer's fields fit for the visitor.
///
/// Fields of one hop and those that `Connection` nominates go; so do `Alt-Svc` (it would send the visitor's next request
/// around the gateway), cookies for a domain that `cookies` does not grant (they would reach other tenants), and fields
/// of ours that the agent's side forged (`X-Adit-*`). `Via` is ours. Everything else passes, `Strict-Transport-Security`
/// with its includeSubDomains too: browsers bind it to the host that sent it and what lies below (case R-30).
///
/// With status 101 the protocol that the upstream changes to stays in `Upgrade`.
///
/// # Errors
/// [`ResponseError`]: answer the visitor 502 instead, and do not use the upstream's connection again. The fields may
/// have been changed by then.
pub fn prepare_response<B>(
    response: &mut Response<B>,
    cookies: CookieScope<'_>,
) -> Result<(), ResponseError> {
    check_framing(response.headers())?;
    let status = response.status();
    let headers = response.headers_mut();
    let upgrade = remove_hop_by_hop(headers);
    headers.remove(header::TE);
    headers.remove(header::ALT_SVC);
    remove_ours(headers);
    drop_foreign_cookies(headers, cookies);
    headers.insert(header::VIA, VIA);
    match (status, upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(protocol)) => set_upgrade(headers, protocol),
        (StatusCode::SWITCHING_PROTOCOLS, None) => return Err(ResponseError::UpgradeUnnamed {}),
        _ => {}
    }
    Ok(())
}

/// For which domains an upstream may set cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieScope<'a> {
    /// The tunnel's own host in a shared zone: a Domain must be this host or lie below it, never the zone or above.
    OwnHost(&'a str),
    /// A custom domain, all of which is the tenant's: any Domain; browsers hold it to the domain itself.
    OwnDomain,
}

/// An upstream's answer that can't be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The end of its body is in doubt.
    #[error("the answer's framing has two readings")]
    FramingUnclear {},
    /// It changes protocols without saying to which (RFC 9110 §15.2.2).
    #[error("the answer switches protocols without naming one")]
    UpgradeUnnamed {},
}

impl From<&ResponseError> for adit_errors::Refusal {
    fn from(_: &ResponseError) -> Self {
        Self::from(adit_errors::Code::UPSTREAM_INVALID_RESPONSE)
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), ResponseError> {
    match framing::of(headers) {
        Framing::None | Framing::Length(_) | Framing::Chunked => Ok(()),
        Framing::Both | Framing::OtherCoding | Framing::Unclear | Framing::UnclearCoding => {
            Err(ResponseError::FramingUnclear {})
        }
    }
}

fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-adit-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn drop_foreign_cookies(headers: &mut HeaderMap, scope: CookieScope<'_>) {
    let CookieScope::OwnHost(host) = scope else { return };
    let is_kept = |cookie: &HeaderValue| is_cookie_of(cookie.as_bytes(), host);
    if headers.get_all(header::SET_COOKIE).iter().all(is_kept) {
        return;
    }
    let kept: Vec<_> =
        headers.get_all(header::SET_COOKIE).iter().filter(|cookie| is_kept(cookie)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for cookie in kept {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Reads a cookie's attributes as browsers do (RFC 6265 §5.2), but takes every Domain, where they take the last.
fn is_cookie_of(cookie: &[u8], host: &str) -> bool {
    cookie.split(|byte| *byte == b';').skip(1).all(|attribute| {
        let mut halves = attribute.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        !name.eq_ignore_ascii_case(b"domain") || is_domain_of(halves.next().unwrap_or_default(), host)
    })
}

/// Whether a Domain is `host` or below it. Without a value browsers take the host itself (RFC 6265 §5.2.3).
fn is_domain_of(domain: &[u8], host: &str) -> bool {
    let domain = domain.trim_ascii();
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    let Some(start) = domain.len().checked_sub(host.len()) else { return domain.is_empty() };
    let (below, own) = domain.split_at(start);
    own.eq_ignore_ascii_case(host.as_bytes()) && (below.is_empty() || below.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: CookieScope<'_> = CookieScope::OwnHost("app.tunnel.example");

    #[test]
    fn r29_cookies_for_the_shared_domain_are_dropped_and_the_others_kept() {
        for (cookie, is_kept) in [
            ("a=1", true),
            ("a=1; Path=/; HttpOnly", true),
            ("a=1; Domain=app.tunnel.example", true),
            ("a=1; domain=.APP.tunnel.example", true),
            ("a=1; Domain=deep.app.tunnel.example", true),
            ("a=1; Domain=", true),
            ("a=1; Domain=tunnel.example", false),
            ("a=1; Domain=.tunnel.example", false),
            ("a=1; DOMAIN = tunnel.example ;Secure", false),
            ("a=1;\tDomain=tunnel.example", false),
            ("a=1; Domain=example", false),
            ("a=1; Domain=other.tunnel.example", false),
            ("a=1; Domain=notapp.tunnel.example", false),
            ("a=1; Domain=xapp.tunnel.example", false),
            ("a=1; Domain=\"tunnel.example\"", false),
            ("a=1; Domain=tunnel.example; Domain=app.tunnel.example", false),
            ("a=1; Domain=app.tunnel.example; Domain=tunnel.example", false),
            ("Domain=tunnel.example", true),
        ] {
            let mut response = response(&[("set-cookie", "first=1"), ("set-cookie", cookie)]);
            prepare_response(&mut response, HOST).unwrap();
            let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
            assert_eq!(cookies.contains(&&HeaderValue::from_static(cookie)), is_kept, "{cookie}");
            assert_eq!(cookies[0], "first=1");
        }
    }

    #[test]
    fn an_owner_of_a_whole_domain_may_set_cookies_for_it() {
        let mut response = response(&[("set-cookie", "a=1; Domain=shop.example")]);
        prepare_response(&mut response, CookieScope::OwnDomain).unwrap();
        assert!(response.headers().contains_key("set-cookie"));
    }

    #[test]
    fn r30_alt_svc_goes_and_hsts_passes() {
        let mut response = response(&[
            ("alt-svc", "h3=\":443\""),
            ("strict-transport-security", "max-age=1; includeSubDomains"),
            ("x-adit-request-id", "forged"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=1"),
            ("via", "1.1 inner"),
        ]);
        prepare_response(&mut response, HOST).unwrap();
        let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2);
        assert_eq!(response.headers()["strict-transport-security"], "max-age=1; includeSubDomains");
        assert_eq!(response.headers()["via"], "1.1 adit");
    }

    #[test]
    fn r29_an_answer_whose_end_is_in_doubt_is_refused() {
        for fields in [
            &[("content-length", "5"), ("content-length", "6")][..],
            &[("content-length", "-1")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip")],
        ] {
            let refused = prepare_response(&mut response(fields), HOST).unwrap_err();
            assert_eq!(refused, ResponseError::FramingUnclear {});
            assert_eq!(adit_errors::Refusal::from(&refused).status(), 502);
        }
    }

    #[test]
    fn switching_protocols_keeps_its_upgrade_and_only_then() {
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        let mut switching = response(&upgrade);
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        prepare_response(&mut switching, HOST).unwrap();
        assert_eq!(switching.headers()["upgrade"], "websocket");
        assert_eq!(switching.headers()["connection"], "upgrade");

        let mut plain = response(&upgrade);
        prepare_response(&mut plain, HOST).unwrap();
        assert!(!plain.headers().contains_key("upgrade"));

        let mut unnamed = response(&[]);
        *unnamed.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        assert_eq!(prepare_response(&mut unnamed, HOST), Err(ResponseError::UpgradeUnnamed {}));
    }

    fn response(fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}
