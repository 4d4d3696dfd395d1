//! What a decision is about.

use std::net::IpAddr;

use http::{HeaderMap, Method, Request, Uri};

/// Whether a tunnel's upstream can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// An agent is connected, or may be: the route table says which.
    Awake,
    /// The machine behind the tunnel is suspended.
    Asleep,
}

/// One visit: where it comes from, and what it asks for if it speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    source: IpAddr,
    is_tls: bool,
    head: Option<Head<'a>>,
}

impl<'a> Visit<'a> {
    /// A connection of which nothing is read: TCP, UDP, TLS that the agent ends.
    #[must_use]
    pub fn connection(source: IpAddr) -> Self {
        Self { source, is_tls: false, head: None }
    }

    /// An HTTP request that has passed the [`RequestGate`](crate::RequestGate).
    #[must_use]
    pub fn request<B>(source: IpAddr, request: &'a Request<B>) -> Self {
        let head = Head { method: request.method(), uri: request.uri(), headers: request.headers() };
        Self { source, is_tls: false, head: Some(head) }
    }

    /// Whether it came by TLS that the gateway ended; not unless set.
    #[must_use]
    pub fn tls(self, is_tls: bool) -> Self {
        Self { is_tls, ..self }
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn head(&self) -> Option<Head<'a>> {
        self.head
    }
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn path(&self) -> &'a str {
        self.uri.path()
    }

    /// Path and query.
    pub(super) fn target(&self) -> &'a str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }
}
