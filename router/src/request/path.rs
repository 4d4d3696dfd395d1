//! What a path would mean to a server that resolves it. For rules only; what is forwarded stays as it came.

/// A path as servers may read it: as it stands, and with escapes decoded, backslashes turned, empty and dot segments
/// resolved.
///
/// A rule about `/admin` has to see `/%61dmin`, `//admin`, `/x/../admin` and `/x\..\admin`, whatever the upstream makes
/// of them. Where servers differ, all readings count. This is the copy that rules look at; the original bytes are
/// forwarded.
///
/// ```
/// use adit_router::PathView;
///
/// assert_eq!(PathView::new("/static/%2e%2e//admin").as_bytes(), b"/admin");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView<'a> {
    raw: &'a [u8],
    /// Absent if it is as it stands.
    resolved: Option<Resolved>,
}

impl<'a> PathView<'a> {
    /// Resolves `path`. Copies nothing if there is nothing to resolve; work and memory are linear in its length.
    #[must_use]
    pub fn new(path: &'a str) -> Self {
        let raw = path.as_bytes();
        Self { raw, resolved: (!is_plain(raw)).then(|| Resolved::new(&decoded(raw))) }
    }

    /// The path resolved as most servers do: decoded, slashes merged, then dots. Its bytes need not be text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.resolved.as_ref().map_or(self.raw, |resolved| &resolved.merged)
    }

    /// Whether any reading of this is `prefix` or lies below it, by whole segments: `/a` covers `/a` and `/a/b`, not
    /// `/ab`.
    ///
    /// Capitals count as small letters, since some servers take them so, and a rule must not be walked around that way.
    #[must_use]
    pub fn is_below(&self, prefix: &str) -> bool {
        let prefix = prefix.trim_end_matches('/').as_bytes();
        is_below(self.raw, prefix)
            || self.resolved.as_ref().is_some_and(|resolved| {
                is_below(&resolved.merged, prefix) || is_below(&resolved.unmerged, prefix)
            })
    }
}

/// The two ways to resolve a decoded path. They differ about `/a//../b`: is the segment taken back `a`, or the empty one?
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resolved {
    merged: Vec<u8>,
    unmerged: Vec<u8>,
}

impl Resolved {
    fn new(path: &[u8]) -> Self {
        Self { merged: resolved(path, true), unmerged: resolved(path, false) }
    }
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    let Some((start, rest)) = path.split_at_checked(prefix.len()) else { return false };
    start.eq_ignore_ascii_case(prefix) && matches!(rest.first(), None | Some(b'/' | b';'))
}

fn is_plain(path: &[u8]) -> bool {
    let is_odd = |byte: &u8| matches!(byte, b'%' | b'\\');
    let is_resolved_segment =
        |segment: &[u8]| !matches!(segment, b"" | b"." | b"..") && !segment.contains(&b';');
    let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').peekable();
    !path.iter().any(is_odd)
        && std::iter::from_fn(|| segments.next().map(|segment| (segment, segments.peek().is_none())))
            .all(|(segment, is_last)| is_resolved_segment(segment) || (is_last && segment.is_empty()))
}

/// Decodes until nothing changes, so that a server which decodes twice is no way around either. At most three rounds:
/// each shortens the path or is the last.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    for _ in 0..MAX_DECODINGS {
        let once = decoded_once(&path);
        if once.len() == path.len() {
            break;
        }
        path = once;
    }
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn decoded_once(mut path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    while let [first, rest @ ..] = path {
        let (byte, after) = match (first, rest) {
            (b'%', [high, low, after @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => (high << 4 | low, after),
                None => (*first, rest),
            },
            _ => (*first, rest),
        };
        decoded.push(byte);
        path = after;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Resolves segments; what would climb above the root stays there (RFC 3986 §5.2.4). Segment parameters (`;x`) are cut,
/// as servlet containers do before they resolve.
fn resolved(path: &[u8], is_merging: bool) -> Vec<u8> {
    let mut segments = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match segment.split(|byte| *byte == b';').next().unwrap_or(segment) {
            b"" if is_merging => {}
            b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut resolved = Vec::with_capacity(path.len());
    for segment in segments.iter().filter(|segment| !segment.is_empty()) {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if resolved.is_empty() || path.ends_with(b"/") {
        resolved.push(b'/');
    }
    resolved
}

const MAX_DECODINGS: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r26_odd_paths_are_resolved_on_a_copy() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("//admin", "/admin"),
            ("/a/../admin", "/admin"),
            ("/../../admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%2561dmin", "/admin"),
            ("/a/%2e%2e/admin", "/admin"),
            ("/a/%2E%2e%2fadmin", "/admin"),
            ("/a\\..\\admin", "/admin"),
            ("/a/%5c..%5cadmin", "/admin"),
            ("/admin;x=1/secret", "/admin/secret"),
            ("/a/..;/admin", "/admin"),
            ("/%00", "/\0"),
            ("/%zz", "/%zz"),
            ("/%2", "/%2"),
            ("*", "*"),
        ] {
            let path_view = PathView::new(path);
            assert_eq!(path_view.as_bytes(), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_segments_in_any_case() {
        for (path, is_below) in [
            ("/admin", true),
            ("/admin/", true),
            ("/admin/x", true),
            ("/ADMIN/x", true),
            ("/%41dmin", true),
            ("/administrator", false),
            ("/adm", false),
            ("/", false),
            ("/x/admin", false),
        ] {
            assert_eq!(PathView::new(path).is_below("/admin"), is_below, "{path}");
            assert_eq!(PathView::new(path).is_below("/admin/"), is_below, "{path}");
        }
        assert!(PathView::new("/anything").is_below("/"));
    }

    #[test]
    fn where_servers_differ_all_readings_count() {
        for path in ["/admin//../x", "/x//../../admin", "/admin/%2e%2e/x", "/a//../admin"] {
            assert!(PathView::new(path).is_below("/admin"), "{path}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(PathView::new("/a/b-c/d.html").resolved.is_none());
        assert!(PathView::new("/a/b/").resolved.is_none());
    }

    proptest! {
        #[test]
        fn what_is_resolved_has_nothing_left_to_resolve(path in "(/|\\\\|\\.|%2e|%2F|a|;|%25){0,20}") {
            let path = format!("/{path}");
            let view = PathView::new(&path);
            prop_assert!(view.as_bytes().starts_with(b"/"));
            prop_assert!(!view.as_bytes().contains(&b'\\'));
            for segment in view.as_bytes()[1..].split(|byte| *byte == b'/') {
                prop_assert!(segment != b"." && segment != b"..");
            }
        }
    }
}
