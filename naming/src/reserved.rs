//! Names that nobody may have.

use alloc::{
    borrow::Cow,
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
};

use crate::{TunnelName, TunnelNameRef};

/// Names that nobody may have: the built-in ones, your own, and those that look like them.
///
/// Reserved is not taken: a taken name may come free, a reserved one never does, and the two are different refusals
/// (case N-12).
///
/// ```
/// use adit_naming::{ReservedNames, TunnelName, TunnelNameRef};
///
/// let mut reserved = ReservedNames::built_in();
/// reserved.add(TunnelName::parse("acme").unwrap());
/// let name = |text| TunnelNameRef::parse(text).unwrap();
/// assert!(reserved.contains(name("acme")));
/// assert_eq!(reserved.look_alike(name("adm1n")), Some("admin"));
/// assert_eq!(reserved.look_alike(name("my-app")), None);
/// ```
#[derive(Clone, Debug)]
pub struct ReservedNames {
    names: BTreeSet<Cow<'static, str>>,
    /// One reserved name for each skeleton.
    skeletons: BTreeMap<Skeleton, Cow<'static, str>>,
}

impl ReservedNames {
    /// No name at all.
    pub fn none() -> Self {
        Self { names: BTreeSet::new(), skeletons: BTreeMap::new() }
    }

    /// The [`BUILT_IN_RESERVED`] names.
    pub fn built_in() -> Self {
        let mut reserved = Self::none();
        for group in BUILT_IN_RESERVED {
            for name in group.names {
                reserved.insert(Cow::Borrowed(name));
            }
        }
        reserved
    }

    /// Reserves one more name.
    pub fn add(&mut self, name: TunnelName) {
        self.insert(Cow::Owned(name.as_str().into()));
    }

    /// Gives one name free, also a built-in one.
    pub fn remove(&mut self, name: TunnelNameRef<'_>) {
        self.names.remove(name.as_str());
        let skeleton = Skeleton::of(name.as_str());
        self.skeletons.remove(&skeleton);
        // Another reserved name may look the same, and keeps the place.
        if let Some(other) = self.names.iter().find(|other| Skeleton::of(other) == skeleton) {
            self.skeletons.insert(skeleton, other.clone());
        }
    }

    /// Whether exactly this name is reserved.
    pub fn contains(&self, name: TunnelNameRef<'_>) -> bool {
        self.names.contains(name.as_str())
    }

    /// A reserved name that this one looks like, or is.
    pub fn look_alike(&self, name: TunnelNameRef<'_>) -> Option<&str> {
        self.skeletons.get(&Skeleton::of(name.as_str())).map(|name| &**name)
    }

    /// All reserved names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn insert(&mut self, name: Cow<'static, str>) {
        self.skeletons.entry(Skeleton::of(&name)).or_insert_with(|| name.clone());
        self.names.insert(name);
    }
}

impl Default for ReservedNames {
    fn default() -> Self {
        Self::built_in()
    }
}

/// What is left of a name when everything that people overlook is taken away: two names look alike if their skeletons
/// are equal.
///
/// Hyphens are dropped, then `0` becomes `o`, `1` and `i` become `l`, `rn` becomes `m`, `vv` becomes `w`. Names are ASCII,
/// so this short list does what UTS #39 needs tables for. A skeleton is for comparing only; it may be no valid name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Skeleton(Box<str>);

impl Skeleton {
    /// The skeleton of a name.
    pub fn of_name(name: TunnelNameRef<'_>) -> Self {
        Self::of(name.as_str())
    }

    /// The skeleton as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(name: &str) -> Self {
        let mut skeleton = String::with_capacity(name.len());
        for character in name.chars().filter(|&character| character != '-') {
            match (character, skeleton.chars().next_back()) {
                ('n', Some('r')) => replace_last(&mut skeleton, 'm'),
                ('v', Some('v')) => replace_last(&mut skeleton, 'w'),
                ('0', _) => skeleton.push('o'),
                ('1' | 'i', _) => skeleton.push('l'),
                _ => skeleton.push(character),
            }
        }
        Self(skeleton.into())
    }
}

/// Names of one kind that nobody may have, and why.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReservedGroup {
    /// The reason, in half a sentence.
    pub reason: &'static str,
    /// The names.
    pub names: &'static [&'static str],
}

/// The names reserved from the start, by reason.
pub const BUILT_IN_RESERVED: &[ReservedGroup] = &[
    ReservedGroup {
        reason: "hosts that browsers, mail programs and operating systems ask for by themselves (RFC 6761, RFC 8552 \
                 neighbours, WPAD, autodiscovery)",
        names: &[
            "autoconfig",
            "autodiscover",
            "broadcasthost",
            "ftp",
            "imap",
            "isatap",
            "localdomain",
            "localhost",
            "mta-sts",
            "mx0",
            "mx1",
            "mx2",
            "ns0",
            "ns1",
            "ns2",
            "ns3",
            "ns4",
            "pop",
            "pop3",
            "sftp",
            "smtp",
            "wpad",
            "www",
        ],
    },
    ReservedGroup {
        reason: "mailboxes by which a certificate authority lets a domain be proved (Baseline Requirements 3.2.2.4.4, \
                 RFC 2142)",
        names: &[
            "abuse",
            "admin",
            "administrator",
            "hostmaster",
            "noc",
            "postmaster",
            "root",
            "security",
            "webmaster",
        ],
    },
    ReservedGroup {
        reason: "the gateway's own services, now or later",
        names: &[
            "adit",
            "agent",
            "agents",
            "api",
            "app",
            "apps",
            "assets",
            "auth",
            "cdn",
            "connect",
            "console",
            "control",
            "dash",
            "dashboard",
            "edge",
            "gateway",
            "health",
            "healthz",
            "hub",
            "internal",
            "login",
            "logout",
            "metrics",
            "oauth",
            "proxy",
            "ready",
            "readyz",
            "register",
            "relay",
            "share",
            "shares",
            "signin",
            "signup",
            "sso",
            "static",
            "status",
            "system",
            "token",
            "tokens",
            "tunnel",
            "tunnels",
            "upload",
            "vpn",
            "webhook",
            "webhooks",
        ],
    },
    ReservedGroup {
        reason: "names by which someone would pretend to speak for the operator",
        names: &[
            "about", "account", "accounts", "billing", "blog", "contact", "docs", "help", "helpdesk", "info",
            "invoice", "legal", "mail", "news", "noreply", "no-reply", "official", "password", "pay",
            "payment", "payments", "press", "privacy", "sales", "secure", "service", "support", "terms",
            "trust", "verify", "wallet", "webmail",
        ],
    },
    ReservedGroup {
        reason: "words that programs write when they have no value",
        names: &[
            "anonymous",
            "any",
            "default",
            "false",
            "nan",
            "nil",
            "none",
            "null",
            "self",
            "true",
            "undefined",
            "unknown",
        ],
    },
];

fn replace_last(text: &mut String, with: char) {
    text.pop();
    text.push(with);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> TunnelNameRef<'_> {
        TunnelNameRef::parse(text).unwrap()
    }

    #[test]
    fn every_built_in_name_is_a_name_and_stands_once() {
        let mut seen = BTreeSet::new();
        for group in BUILT_IN_RESERVED {
            for text in group.names {
                assert!(TunnelNameRef::parse(text).is_ok(), "{text}");
                assert!(seen.insert(text), "{text} twice");
            }
        }
        assert_eq!(ReservedNames::built_in().iter().count(), seen.len());
    }

    #[test]
    fn n12_reserved_words_and_what_looks_like_them() {
        let reserved = ReservedNames::default();
        for (text, like) in [
            ("admin", "admin"),
            ("adm1n", "admin"),
            ("admln", "admin"),
            ("ad-min", "admin"),
            ("adrnin", "admin"),
            ("adr-nin", "admin"),
            ("l0gin", "login"),
            ("vvww", "www"),
            ("wvvw", "www"),
            ("a-p-1", "api"),
            ("l0ca1h0st", "localhost"),
            ("b1lllng", "billing"),
        ] {
            assert_eq!(reserved.look_alike(name(text)), Some(like), "{text}");
        }
        for text in ["my-app", "administer", "apis", "wwww"] {
            assert_eq!(reserved.look_alike(name(text)), None, "{text}");
        }
        assert!(!ReservedNames::none().contains(name("admin")));
    }

    #[test]
    fn own_names_come_and_go() {
        let mut reserved = ReservedNames::built_in();
        reserved.remove(name("noreply"));
        assert!(!reserved.contains(name("noreply")));
        assert_eq!(
            reserved.look_alike(name("noreply")),
            Some("no-reply"),
            "another reserved name looks the same"
        );
        reserved.remove(name("no-reply"));
        assert_eq!(reserved.look_alike(name("noreply")), None);
        reserved.add(TunnelName::parse("acme-corp").unwrap());
        assert_eq!(reserved.look_alike(name("acrnecorp")), Some("acme-corp"));
    }

    proptest! {
        #[test]
        fn skeletons_stay_as_they_are(text in "[rnvw0o1li-]{0,12}") {
            let once = Skeleton::of(&text);
            prop_assert_eq!(&Skeleton::of(once.as_str()), &once);
        }

        #[test]
        fn hyphens_and_look_alikes_make_no_difference(text in "[a-z0-9]{3,20}", at in 1..3usize) {
            let (left, right) = text.split_at(at);
            let other = [left, "-", right].concat().replace('0', "o").replace(['1', 'i'], "l").replace('m', "rn");
            prop_assert_eq!(Skeleton::of(&text), Skeleton::of(&other));
        }
    }
}
