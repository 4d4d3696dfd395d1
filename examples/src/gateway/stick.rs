//! The cookie by which a visitor of a tunnel with several agents comes back to the same one.
//!
//! Its value is a random number that says nothing about the agents, and which of them it means is found by rendezvous: it
//! outlives each of them. Whoever makes up a value chooses between agents that any visitor may get.

use super::hub::{Facts, Link};
use crate::random;
use adit_router::{Dispatch, Stick, Tunnel};
use http::header::{COOKIE, HeaderMap, HeaderValue};

/// The cookie's name. It is removed before the upstream.
const COOKIE_NAME: &[u8] = b"adit-agent=";

/// Takes the cookie out of a request: the number that it has, if it is one of ours.
pub(super) fn take(headers: &mut HeaderMap) -> Option<u64> {
    let pairs = |value: &HeaderValue| -> Vec<Vec<u8>> {
        value.as_bytes().split(|octet| *octet == b';').map(|pair| pair.trim_ascii().to_vec()).collect()
    };
    let sent: Vec<Vec<u8>> = headers.get_all(COOKIE).iter().flat_map(pairs).collect();
    let (ours, others): (Vec<_>, Vec<_>) = sent.into_iter().partition(|pair| pair.starts_with(COOKIE_NAME));
    let first = ours.first()?;
    headers.remove(COOKIE);
    if let Ok(kept) = HeaderValue::from_bytes(&others.join(&b"; "[..]))
        && !others.is_empty()
    {
        headers.insert(COOKIE, kept);
    }
    let digits = std::str::from_utf8(first.strip_prefix(COOKIE_NAME)?).ok()?;
    // Digits only: the parser takes a sign too.
    let is_ours = digits.len() == 16 && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_ours)
}

/// A number for a visitor who has none: of two by chance, the one whose agent carries less.
pub(super) fn fresh(tunnel: &Tunnel<Link, Facts>) -> u64 {
    let load = |number: &u64| {
        let agent = Dispatch::new(0).stick(Stick::by_number(*number)).next(tunnel);
        agent.map_or(u32::MAX, |agent| agent.in_flight())
    };
    let (one, other) = (random::number(), random::number());
    if load(&other) < load(&one) { other } else { one }
}

/// The value of `Set-Cookie`: for this host alone, for as long as the browser runs, and out of scripts' reach.
pub(super) fn cookie(number: u64, is_tls: bool) -> Option<HeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    HeaderValue::try_from(format!("adit-agent={number:016x}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_cookie_is_taken_out_and_only_a_number_of_ours_counts() {
        for (sent, number, left) in [
            ("adit-agent=00000000000000ff", Some(255), None),
            ("a=b; adit-agent=00000000000000ff; c=d", Some(255), Some("a=b; c=d")),
            ("adit-agent=ff", None, None),
            ("adit-agent=+0000000000000ff; a=b", None, Some("a=b")),
            ("a=b; adit-agents=00000000000000ff", None, Some("a=b; adit-agents=00000000000000ff")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(sent));
            assert_eq!(take(&mut headers), number, "{sent}");
            assert_eq!(headers.get(COOKIE).map(|value| value.to_str().unwrap()), left, "{sent}");
        }
    }

    #[test]
    fn what_is_set_is_what_is_taken() {
        let set = cookie(u64::MAX, true).unwrap();
        let mut headers = HeaderMap::new();
        let pair = set.to_str().unwrap().split(';').next().unwrap();
        headers.insert(COOKIE, HeaderValue::from_str(pair).unwrap());
        assert_eq!(take(&mut headers), Some(u64::MAX));
    }
}
