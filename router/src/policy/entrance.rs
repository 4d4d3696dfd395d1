//! How a visitor shows a share: by the link itself, by the cookie that the link leaves behind, or in a field.

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};

use super::share::ShareKey;

/// The field in which programs show a share's key. It is removed before the upstream.
pub const SHARE_FIELD: HeaderName = HeaderName::from_static("x-adit-share");

/// The cookie that a share's link leaves behind. It is removed before the upstream.
pub const SHARE_COOKIE: &str = "adit-share";

/// A share's link is this path, its key, and optionally the path to go on to: `/.adit/s/{key}/docs`.
pub const SHARE_PATH: &str = "/.adit/s/";

/// A visitor came by a share's link: answer 303 with these two fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareEntrance {
    location: HeaderValue,
    cookie: HeaderValue,
}

impl ShareEntrance {
    /// The value of `Location`: a path on the same host.
    #[must_use]
    pub fn location(&self) -> &HeaderValue {
        &self.location
    }

    /// The value of `Set-Cookie`: for this host alone, out of scripts' reach, and with TLS only where TLS was.
    #[must_use]
    pub fn cookie(&self) -> &HeaderValue {
        &self.cookie
    }
}

/// What a visitor showed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Anything at all, a key or not.
    pub(super) is_any: bool,
    pub(super) key: Option<ShareKey>,
    /// Where the link goes on to.
    pub(super) link: Option<Link>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The first byte of the rest in the target.
    rest: usize,
}

/// Looks at the path first: whoever opens a link means that one, whatever an older link left behind.
pub(super) fn shown(target: &str, headers: &HeaderMap) -> Shown {
    if let Some(rest) = target.strip_prefix(SHARE_PATH) {
        let key = rest.split(['/', '?']).next().unwrap_or_default();
        let link = Link { rest: SHARE_PATH.len().saturating_add(key.len()) };
        return Shown { is_any: true, key: ShareKey::parse(key.as_bytes()), link: Some(link) };
    }
    let mut fields = headers.get_all(SHARE_FIELD).iter();
    if let Some(field) = fields.next() {
        let key = fields.next().is_none().then(|| ShareKey::parse(field.as_bytes())).flatten();
        return Shown { is_any: true, key, link: None };
    }
    let mut cookies = pairs(headers).filter_map(value_of_ours);
    let first = cookies.next();
    Shown { is_any: first.is_some(), key: first.and_then(ShareKey::parse), link: None }
}

/// What to answer to whoever came by a link that holds.
pub(super) fn entrance(link: Link, target: &str, key: &ShareKey, is_tls: bool) -> Option<ShareEntrance> {
    let rest = target.get(link.rest..).unwrap_or_default();
    // A location that begins with two slashes, or with a backslash, would lead to another host.
    let rest = rest.trim_start_matches(['/', '\\']);
    let location = format!("/{rest}");
    let secure = if is_tls { "; Secure" } else { "" };
    let key = key.reveal();
    let cookie = zeroize::Zeroizing::new(format!(
        "{SHARE_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax{secure}",
        key.as_str()
    ));
    Some(ShareEntrance {
        location: HeaderValue::try_from(location).ok()?,
        cookie: HeaderValue::from_str(&cookie).ok()?,
    })
}

/// Removes what shows a share, and leaves every other cookie as it came.
pub(super) fn remove(headers: &mut HeaderMap) {
    headers.remove(SHARE_FIELD);
    if pairs(headers).all(|pair| value_of_ours(pair).is_none()) {
        return;
    }
    let kept: Vec<&[u8]> = pairs(headers).filter(|pair| value_of_ours(pair).is_none()).collect();
    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..]));
    headers.remove(COOKIE);
    if let Some(kept) = kept.ok().filter(|kept| !kept.is_empty()) {
        headers.insert(COOKIE, kept);
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(COOKIE).iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

fn value_of_ours(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(SHARE_COOKIE.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_its_own_host_wherever_it_says_it_goes_on() {
        let key = ShareKey::from_random(7);
        for (rest, location) in [
            ("", "/"),
            ("/", "/"),
            ("/docs/a?b=c", "/docs/a?b=c"),
            ("?b=c", "/?b=c"),
            ("//evil.example", "/evil.example"),
            ("/\\evil.example", "/evil.example"),
            ("/%2Fevil.example", "/%2Fevil.example"),
        ] {
            let target = format!("{SHARE_PATH}{}{rest}", key.reveal().as_str());
            let shown = shown(&target, &HeaderMap::new());
            let entrance = entrance(shown.link.unwrap(), &target, &shown.key.unwrap(), true).unwrap();
            assert_eq!(entrance.location(), location, "{rest}");
            assert!(entrance.cookie().to_str().unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
        }
    }

    #[test]
    fn only_the_cookie_of_the_share_is_removed() {
        for (sent, left) in [
            (&["a=1; adit-share=x; b=2"][..], Some("a=1; b=2")),
            (&["adit-share=x"], None),
            (&["a=1", "adit-share=x", "b=2"], Some("a=1; b=2")),
            (&["xadit-share=x; adit-share2=y"], Some("xadit-share=x; adit-share2=y")),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in sent {
                headers.append(COOKIE, HeaderValue::from_static(cookie));
            }
            remove(&mut headers);
            assert_eq!(headers.get(COOKIE).map(|cookie| cookie.to_str().unwrap()), left, "{sent:?}");
        }
    }

    #[test]
    fn two_keys_in_fields_are_none_and_a_link_goes_before_a_cookie() {
        let key = ShareKey::from_random(7);
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("adit-share=stale"));
        let target = format!("{SHARE_PATH}{}", key.reveal().as_str());
        assert!(shown(&target, &headers).key.is_some());
        let stale = shown("/", &headers);
        assert!(stale.is_any && stale.key.is_none());
        for _ in 0..2 {
            headers.append(SHARE_FIELD, HeaderValue::from_str(&key.reveal()).unwrap());
        }
        let doubled = shown("/", &headers);
        assert!(doubled.is_any && doubled.key.is_none());
    }
}
