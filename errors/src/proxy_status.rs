use crate::code::Code;
use crate::refusal::Refusal;
use crate::source::Source;

/// The value of a `Proxy-Status` field about a refusal (RFC 9209 §2), a list of one member:
///
/// ```text
/// adit; error=destination_unavailable; adit-source=agent; adit-upstream-answered=?0
/// ```
///
/// `error` is one of the registered types of §2.3. The other two are our own parameters, which others must ignore (§2.1).
/// There is no `details` parameter and no `next-hop`: they would name what is inside.
pub(crate) fn write(proxy: &str, refusal: &Refusal) -> String {
    let error = error_type(refusal);
    let source = refusal.source();
    let answered = if refusal.upstream_answered() { "?1" } else { "?0" };
    format!("{proxy}; error={error}; {SOURCE}={source}; {ANSWERED}={answered}")
}

/// Reads our two parameters out of a field value: those of the member nearest to the client, which is the last one.
pub(crate) fn read(value: &[u8]) -> (Option<Source>, Option<bool>) {
    let Some(text) = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_FIELD_BYTES) else {
        return (None, None);
    };
    let (mut source, mut answered) = (None, None);
    for parameter in outside_quotes(text).split([';', ',']) {
        match parameter.trim().split_once('=') {
            Some((SOURCE, word)) => source = Source::parse(word),
            Some((ANSWERED, "?1")) => answered = Some(true),
            Some((ANSWERED, "?0")) => answered = Some(false),
            Some(_) | None => {}
        }
    }
    (source, answered)
}

/// The text without what stands in quotes, where separators and our own words mean nothing (RFC 9651 §3.3.3).
fn outside_quotes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '"' {
            kept.push(character);
            continue;
        }
        while let Some(quoted) = characters.next() {
            match quoted {
                '"' => break,
                '\\' => drop(characters.next()),
                _ => {}
            }
        }
    }
    kept
}

fn error_type(refusal: &Refusal) -> &'static str {
    let code = refusal.code();
    let known = ERROR_TYPES.iter().find(|(codes, _)| codes.contains(code)).map(|(_, error)| *error);
    known.unwrap_or_else(|| match refusal.source() {
        Source::Caller => "http_request_error",
        Source::Policy => "http_request_denied",
        Source::Edge => "proxy_internal_error",
        Source::Agent => "destination_unavailable",
        Source::Upstream => "connection_terminated",
    })
}

/// Codes that say more than their source does, with the error types of RFC 9209 §2.3.
const ERROR_TYPES: &[(&[Code], &str)] = &[
    (&[Code::NOT_FOUND], "destination_not_found"),
    (
        &[Code::AWAITING_CERT, Code::TUNNEL_OFFLINE, Code::TUNNEL_PAUSED, Code::TUNNEL_WAKING],
        "destination_unavailable",
    ),
    (&[Code::TARGET_FORBIDDEN], "destination_ip_prohibited"),
    (&[Code::UPSTREAM_UNREACHABLE], "connection_refused"),
    (&[Code::AGENT_DISCONNECTED, Code::UPSTREAM_RESET], "connection_terminated"),
    (&[Code::AGENT_TIMEOUT], "connection_timeout"),
    (&[Code::UPSTREAM_TIMEOUT], "http_response_timeout"),
    (&[Code::UPSTREAM_INVALID_RESPONSE], "http_protocol_error"),
    (&[Code::OVERLOADED], "connection_limit_reached"),
];

const SOURCE: &str = "adit-source";
const ANSWERED: &str = "adit-upstream-answered";

/// Several proxies' members fit well; a longer value is not ours.
const MAX_FIELD_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::REGISTRY;

    #[test]
    fn every_code_round_trips() {
        for entry in REGISTRY {
            let refusal = Refusal::from(entry.code().clone());
            let value = write("adit", &refusal);
            assert_eq!(read(value.as_bytes()), (Some(refusal.source()), Some(refusal.upstream_answered())));
        }
    }

    #[test]
    fn the_value_is_as_rfc_9209_has_it() {
        let refusal = Refusal::from(Code::TUNNEL_OFFLINE);
        assert_eq!(
            write("edge.example", &refusal),
            "edge.example; error=destination_unavailable; adit-source=agent; adit-upstream-answered=?0"
        );
    }

    #[test]
    fn quoted_text_and_other_proxies_do_not_confuse() {
        let value =
            br#"other; details="; adit-source=edge \" , adit-source=edge", adit;adit-source=agent ,x"#;
        assert_eq!(read(value), (Some(Source::Agent), None));
        assert_eq!(read(br#"x; details="adit-source=agent"#), (None, None));
        assert_eq!(read(b"adit; adit-source=gremlins; adit-upstream-answered=yes"), (None, None));
        assert_eq!(read(b"\xff"), (None, None));
        assert_eq!(read(&vec![b';'; 1 << 20]), (None, None));
    }
}
