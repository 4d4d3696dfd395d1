//! Accounts, orders and certificates: requests in, answers out, and what is to be validated meanwhile.

use super::jws::{Jwk, Signed};
use crate::random;
use adit_tls_modes::{AuthorisedNames, CsrCheck, Issuance, IssuedCertificate, LocalCa, ServerName};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::SystemTime;

/// Every so many nonces one is refused, as Pebble does, so that a client that can't bear it is found out.
const REFUSED_NONCE: u64 = 7;

/// Nonces that wait to be used; more than that, and the oldest orders of a test are long over.
const MAX_NONCES: usize = 10_000;

/// Orders for one set of names, before the client is told to come back in an hour.
const MAX_ORDERS_OF_A_KIND: usize = 20;

/// How long that is, in seconds.
const RETRY_AFTER: u32 = 3600;

/// What is kept. Ids are places in the lists.
pub(super) struct Desk {
    base: String,
    authority: LocalCa,
    check: CsrCheck,
    /// At most [`MAX_NONCES`].
    nonces: HashSet<String>,
    used_nonces: u64,
    accounts: Vec<Jwk>,
    orders: Vec<Order>,
    authorizations: Vec<Authorization>,
}

struct Order {
    account: usize,
    names: Vec<String>,
    authorizations: Vec<usize>,
    certificate: Option<String>,
}

struct Authorization {
    account: usize,
    host: String,
    token: String,
    /// The kind of challenge that was chosen, and what came of it.
    chosen: Option<(Kind, Option<Result<(), &'static str>>)>,
}

/// How a name is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http01,
    TlsAlpn01,
}

/// What is to be looked at, at the ports of a gateway.
pub(super) struct Validation {
    pub(super) authorization: usize,
    pub(super) kind: Kind,
    pub(super) host: String,
    pub(super) token: String,
    pub(super) key_authorization: String,
}

/// A request, as far as it matters here.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<u32>,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    pub(super) nonce: String,
    pub(super) validation: Option<Validation>,
}

/// A refusal (RFC 8555 §6.7).
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    kind: &'static str,
}

impl Problem {
    pub(super) const fn new(status: u16, kind: &'static str) -> Self {
        Self { status, kind }
    }
}

/// What a handler gives: a status, a body and, now and then, where it is.
struct Done {
    status: u16,
    location: Option<String>,
    body: Body,
    validation: Option<Validation>,
}

enum Body {
    Json(Value),
    Pem(String),
}

impl Done {
    const fn ok(body: Value) -> Self {
        Self { status: 200, location: None, body: Body::Json(body), validation: None }
    }

    fn created(location: String, body: Value) -> Self {
        Self { status: 201, location: Some(location), ..Self::ok(body) }
    }
}

impl Desk {
    pub(super) fn new(base: String, authority: LocalCa) -> Self {
        Self {
            base,
            authority,
            check: CsrCheck::new(crate::provider()),
            nonces: HashSet::new(),
            used_nonces: 0,
            accounts: Vec::new(),
            orders: Vec::new(),
            authorizations: Vec::new(),
        }
    }

    /// Answers one request.
    pub(super) fn answer(&mut self, now: SystemTime, asked: &Asked<'_>) -> Reply {
        let answer = match (asked.method, asked.path) {
            (&Method::GET, "/directory") => Ok(Done::ok(self.directory())),
            (&Method::HEAD | &Method::GET, "/nonce") => Ok(Done::ok(Value::Null)),
            (&Method::POST, path) => self.post(now, path, asked),
            _ => Err(Problem::new(405, "malformed")),
        };
        let nonce = self.new_nonce();
        match answer {
            Ok(done) => Reply {
                status: status(done.status),
                location: done.location,
                retry_after: None,
                content_type: match done.body {
                    Body::Json(_) => "application/json",
                    Body::Pem(_) => "application/pem-certificate-chain",
                },
                body: match done.body {
                    Body::Json(Value::Null) => String::new(),
                    Body::Json(value) => value.to_string(),
                    Body::Pem(pem) => pem,
                },
                nonce,
                validation: done.validation,
            },
            Err(problem) => refuse(&problem, nonce),
        }
    }

    /// Notes what a look at a gateway's ports has shown.
    pub(super) fn validated(&mut self, authorization: usize, outcome: Result<(), &'static str>) {
        if let Some((_, result)) =
            self.authorizations.get_mut(authorization).and_then(|authorization| authorization.chosen.as_mut())
        {
            *result = Some(outcome);
        }
    }

    fn post(&mut self, now: SystemTime, path: &str, asked: &Asked<'_>) -> Result<Done, Problem> {
        if asked.content_type != "application/jose+json" {
            return Err(Problem::new(415, "malformed"));
        }
        let signed = Signed::parse(asked.body)?;
        self.use_nonce(&signed.header.nonce)?;
        if signed.header.url != format!("{}{path}", self.base) {
            return Err(Problem::new(401, "unauthorized"));
        }
        if path == "/account" {
            let key = signed.header.jwk.clone().ok_or_else(malformed)?;
            signed.verify(&key)?;
            return self.new_account(key, &signed.payload);
        }
        let account = self.account_of(&signed)?;
        let mut parts = path.trim_start_matches('/').splitn(3, '/');
        let (what, id, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let id = id.map(|id| id.parse::<usize>().map_err(|_| Problem::new(404, "malformed"))).transpose()?;
        match (what, id, rest) {
            ("order", None, None) => self.new_order(account, &signed.payload),
            ("order", Some(id), None) => self.order(account, id).map(Done::ok),
            ("authorization", Some(id), None) => self.authorization(account, id).map(Done::ok),
            ("challenge", Some(id), Some(kind)) => self.choose(account, id, kind, &signed.payload),
            ("finalize", Some(id), None) => self.finalize(now, account, id, &signed.payload),
            ("certificate", Some(id), None) => self.certificate(account, id),
            _ => Err(Problem::new(404, "malformed")),
        }
    }

    fn directory(&self) -> Value {
        let base = &self.base;
        json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"),
            "meta": { "termsOfService": "for tests only" },
        })
    }

    fn new_nonce(&mut self) -> String {
        if self.nonces.len() >= MAX_NONCES {
            self.nonces.clear();
        }
        let nonce = BASE64URL_NOPAD.encode(&random::octets::<16>());
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn use_nonce(&mut self, nonce: &str) -> Result<(), Problem> {
        let is_fresh = self.nonces.remove(nonce);
        self.used_nonces += 1;
        let is_refused = self.used_nonces.is_multiple_of(REFUSED_NONCE);
        if is_fresh && !is_refused { Ok(()) } else { Err(Problem::new(400, "badNonce")) }
    }

    fn account_of(&self, signed: &Signed) -> Result<usize, Problem> {
        let prefix = format!("{}/account/", self.base);
        let kid = signed.header.kid.as_deref().ok_or_else(malformed)?;
        let id = kid.strip_prefix(&prefix).and_then(|id| id.parse::<usize>().ok());
        let id = id.filter(|id| *id < self.accounts.len());
        let id = id.ok_or_else(|| Problem::new(400, "accountDoesNotExist"))?;
        signed.verify(self.accounts.get(id).ok_or_else(malformed)?)?;
        Ok(id)
    }

    fn new_account(&mut self, key: Jwk, payload: &[u8]) -> Result<Done, Problem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct NewAccount {
            #[serde(default)]
            terms_of_service_agreed: bool,
        }
        let wanted: NewAccount = serde_json::from_slice(payload).map_err(|_| malformed())?;
        let known = self.accounts.iter().position(|account| *account == key);
        if known.is_none() && !wanted.terms_of_service_agreed {
            return Err(Problem::new(403, "userActionRequired"));
        }
        let id = known.unwrap_or_else(|| {
            self.accounts.push(key);
            self.accounts.len() - 1
        });
        Ok(Done::created(format!("{}/account/{id}", self.base), json!({ "status": "valid" })))
    }

    fn new_order(&mut self, account: usize, payload: &[u8]) -> Result<Done, Problem> {
        #[derive(Deserialize)]
        struct NewOrder {
            identifiers: Vec<Identifier>,
        }
        #[derive(Deserialize)]
        struct Identifier {
            r#type: String,
            value: String,
        }
        let wanted: NewOrder = serde_json::from_slice(payload).map_err(|_| malformed())?;
        let mut names = Vec::new();
        for identifier in wanted.identifiers {
            if identifier.r#type != "dns" {
                return Err(Problem::new(400, "unsupportedIdentifier"));
            }
            // Wildcards too: they need DNS-01, which isn't looked at here.
            let name: Result<ServerName, _> = identifier.value.parse();
            names.push(name.map_err(|_| Problem::new(400, "rejectedIdentifier"))?.as_str().to_owned());
        }
        if names.is_empty() {
            return Err(malformed());
        }
        if self.orders.iter().filter(|order| order.names == names).count() >= MAX_ORDERS_OF_A_KIND {
            return Err(Problem::new(429, "rateLimited"));
        }
        let first = self.authorizations.len();
        for host in &names {
            let token = BASE64URL_NOPAD.encode(&random::octets::<32>());
            self.authorizations.push(Authorization { account, host: host.clone(), token, chosen: None });
        }
        let authorizations = (first..self.authorizations.len()).collect();
        self.orders.push(Order { account, names, authorizations, certificate: None });
        let id = self.orders.len() - 1;
        Ok(Done::created(format!("{}/order/{id}", self.base), self.order(account, id)?))
    }

    fn order(&self, account: usize, id: usize) -> Result<Value, Problem> {
        let order = self.orders.get(id).filter(|order| order.account == account).ok_or_else(not_yours)?;
        let base = &self.base;
        let urls: Vec<String> =
            order.authorizations.iter().map(|id| format!("{base}/authorization/{id}")).collect();
        let names: Vec<Value> =
            order.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
        let mut value = json!({
            "status": self.status_of(order),
            "identifiers": names,
            "authorizations": urls,
            "finalize": format!("{base}/finalize/{id}"),
        });
        if let (Value::Object(fields), true) = (&mut value, order.certificate.is_some()) {
            fields.insert("certificate".to_owned(), json!(format!("{base}/certificate/{id}")));
        }
        Ok(value)
    }

    fn status_of(&self, order: &Order) -> &'static str {
        let states: Vec<&str> = order
            .authorizations
            .iter()
            .filter_map(|id| self.authorizations.get(*id))
            .map(Authorization::status)
            .collect();
        if states.contains(&"invalid") {
            "invalid"
        } else if order.certificate.is_some() {
            "valid"
        } else if states.iter().all(|state| *state == "valid") {
            "ready"
        } else {
            "pending"
        }
    }

    fn authorization(&self, account: usize, id: usize) -> Result<Value, Problem> {
        let authorization =
            self.authorizations.get(id).filter(|authorization| authorization.account == account);
        let authorization = authorization.ok_or_else(not_yours)?;
        let challenges: Vec<Value> = [Kind::Http01, Kind::TlsAlpn01]
            .into_iter()
            .map(|kind| self.challenge(id, authorization, kind))
            .collect();
        Ok(json!({
            "status": authorization.status(),
            "identifier": { "type": "dns", "value": authorization.host },
            "challenges": challenges,
        }))
    }

    fn challenge(&self, id: usize, authorization: &Authorization, kind: Kind) -> Value {
        let outcome = authorization.chosen.filter(|(chosen, _)| *chosen == kind).map(|(_, outcome)| outcome);
        let mut value = json!({
            "type": kind.name(),
            "url": format!("{}/challenge/{id}/{}", self.base, kind.name()),
            "token": authorization.token,
            "status": match outcome {
                None => "pending",
                Some(None) => "processing",
                Some(Some(Ok(()))) => "valid",
                Some(Some(Err(_))) => "invalid",
            },
        });
        if let (Value::Object(fields), Some(Some(Err(kind)))) = (&mut value, outcome) {
            fields.insert("error".to_owned(), json!({ "type": urn(kind), "detail": "looked for in vain" }));
        }
        value
    }

    /// The client says that its answer hangs: it is looked at once, by this kind alone.
    fn choose(&mut self, account: usize, id: usize, kind: &str, payload: &[u8]) -> Result<Done, Problem> {
        let kind = Kind::of(kind).ok_or_else(|| Problem::new(404, "malformed"))?;
        let thumbprint = self.accounts.get(account).ok_or_else(malformed)?.thumbprint();
        let authorization = self.authorizations.get_mut(id);
        let authorization = authorization.filter(|authorization| authorization.account == account);
        let authorization = authorization.ok_or_else(not_yours)?;
        let is_told = payload == b"{}" && authorization.chosen.is_none();
        let validation = is_told.then(|| Validation {
            authorization: id,
            kind,
            host: authorization.host.clone(),
            token: authorization.token.clone(),
            key_authorization: format!("{}.{thumbprint}", authorization.token),
        });
        if is_told {
            authorization.chosen = Some((kind, None));
        }
        let authorization = self.authorizations.get(id).ok_or_else(not_yours)?;
        Ok(Done { validation, ..Done::ok(self.challenge(id, authorization, kind)) })
    }

    fn finalize(
        &mut self,
        now: SystemTime,
        account: usize,
        id: usize,
        payload: &[u8],
    ) -> Result<Done, Problem> {
        #[derive(Deserialize)]
        struct Finalize {
            csr: String,
        }
        let order = self.orders.get(id).filter(|order| order.account == account).ok_or_else(not_yours)?;
        if self.status_of(order) != "ready" {
            return Err(Problem::new(403, "orderNotReady"));
        }
        let wanted: Finalize = serde_json::from_slice(payload).map_err(|_| malformed())?;
        let csr = BASE64URL_NOPAD.decode(wanted.csr.as_bytes()).map_err(|_| malformed())?;
        let issued = self.issue(now, order, &csr)?;
        if let Some(order) = self.orders.get_mut(id) {
            order.certificate = Some(pem(&issued));
        }
        self.order(account, id).map(Done::ok)
    }

    fn issue(&self, now: SystemTime, order: &Order, csr: &[u8]) -> Result<IssuedCertificate, Problem> {
        let bad_csr = || Problem::new(400, "badCSR");
        let names: Result<Vec<ServerName>, _> = order.names.iter().map(|name| name.parse()).collect();
        let authorised = AuthorisedNames::new(names.map_err(|_| bad_csr())?).map_err(|_| bad_csr())?;
        let request = self.check.check_der(csr, &authorised).map_err(|_| bad_csr())?;
        // All names of the order, not just some (RFC 8555 §7.4).
        if request.names().len() != authorised.iter().count() {
            return Err(bad_csr());
        }
        let issuance = Issuance::new(now, random::octets());
        self.authority.issue(&request, issuance).map_err(|_| Problem::new(500, "serverInternal"))
    }

    fn certificate(&self, account: usize, id: usize) -> Result<Done, Problem> {
        let order = self.orders.get(id).filter(|order| order.account == account).ok_or_else(not_yours)?;
        let pem = order.certificate.clone().ok_or_else(|| Problem::new(404, "malformed"))?;
        Ok(Done { status: 200, location: None, body: Body::Pem(pem), validation: None })
    }
}

impl Authorization {
    const fn status(&self) -> &'static str {
        match self.chosen {
            Some((_, Some(Ok(())))) => "valid",
            Some((_, Some(Err(_)))) => "invalid",
            Some((_, None)) | None => "pending",
        }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Http01, Self::TlsAlpn01].into_iter().find(|kind| kind.name() == name)
    }
}

fn refuse(problem: &Problem, nonce: String) -> Reply {
    Reply {
        status: status(problem.status),
        location: None,
        retry_after: (problem.kind == "rateLimited").then_some(RETRY_AFTER),
        content_type: "application/problem+json",
        body: json!({ "type": urn(problem.kind), "status": problem.status, "detail": "refused" }).to_string(),
        nonce,
        validation: None,
    }
}

fn pem(issued: &IssuedCertificate) -> String {
    let block = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der))
    };
    issued.chain.iter().map(|der| block(der)).collect()
}

fn urn(kind: &str) -> String {
    format!("urn:ietf:params:acme:error:{kind}")
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

const fn malformed() -> Problem {
    Problem::new(400, "malformed")
}

/// Not there, or another's: nobody is told which.
const fn not_yours() -> Problem {
    Problem::new(404, "malformed")
}
