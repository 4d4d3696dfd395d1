use crate::certificates::names::MAX_NAMES;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, ChallengeStatus, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::ServerName;
use crate::acme::signer::AcmeSigner;
use crate::acme::transport::LastAnswer;
use crate::acme::{AcmeError, AcmeProblem, ChallengeKind, Posting};
use crate::certificates::{ApprovedRequest, IssuedCertificate};

/// One order, from the directory to the certificate (RFC 8555 §7.4).
///
/// ```text
///  open account --> newOrder --> for each name: post the answer, tell that it hangs
///                                   |
///                    ready <--------'--> invalid: ChallengeFailed
///                      |
///                finalize with the request as it came --> certificate --> is it what was ordered?
/// ```
pub(super) async fn obtain(
    signer: &AcmeSigner,
    request: &ApprovedRequest,
    now: SystemTime,
) -> Result<IssuedCertificate, AcmeError> {
    let (account, last) = signer.account.open(&signer.transport, now).await?;
    let wrong = |error| error_of(error, last_answer(&last), now);
    let identifiers: Vec<Identifier> =
        request.names().iter().map(|name| Identifier::Dns(name.as_str().into())).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(wrong)?;
    // Down from the board once the order is over, however it ends.
    let _postings = answer_challenges(signer, request.names(), &mut order, &last, now).await?;
    let retries = RetryPolicy::new().timeout(signer.patience);
    match order.poll_ready(&retries).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(failure(&mut order).await),
        Err(error) => return Err(wrong(error)),
    }
    order.finalize_csr(request.csr_der()).await.map_err(wrong)?;
    let pem = order.poll_certificate(&retries).await.map_err(wrong)?;
    check_certificate(&pem, request, now)
}

async fn answer_challenges(
    signer: &AcmeSigner,
    names: &[ServerName],
    order: &mut Order,
    last: &Mutex<LastAnswer>,
    now: SystemTime,
) -> Result<Vec<Posting>, AcmeError> {
    let wrong = |error| error_of(error, last_answer(last), now);
    let mut postings = Vec::new();
    let mut authorizations = order.authorizations();
    let mut asked = 0;
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.map_err(wrong)?;
        asked += 1;
        if asked > names.len() {
            // One for each name (RFC 8555 §7.1.3): who lists more would keep us asking.
            return Err(AcmeError::Unordered {});
        }
        let name = ordered_name(&authorization, names).ok_or(AcmeError::Unordered {})?;
        match authorization.status {
            // Proven by an earlier order.
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => {
                postings.push(answer(signer, &name, authorization, last, now).await?);
            }
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => {
                return Err(AcmeError::Refused { problem: AcmeProblem::INVALID_ORDER, retry_after: None });
            }
        }
    }
    Ok(postings)
}

async fn answer(
    signer: &AcmeSigner,
    name: &ServerName,
    mut authorization: AuthorizationHandle<'_>,
    last: &Mutex<LastAnswer>,
    now: SystemTime,
) -> Result<Posting, AcmeError> {
    let kind = signer.challenge;
    let mut challenge = authorization.challenge(kind.on_wire()).ok_or(AcmeError::NoChallenge { kind })?;
    let proof = challenge.key_authorization();
    let posting = match kind {
        ChallengeKind::Http01 => signer.board.post_http(now, name, &challenge.token, proof.as_str()),
        ChallengeKind::TlsAlpn01 => {
            signer.board.post_tls(now, name, proof.as_str(), signer.generator, &signer.provider)
        }
    };
    let posting = posting.map_err(|source| AcmeError::Board { source })?;
    challenge.set_ready().await.map_err(|error| error_of(error, last_answer(last), now))?;
    Ok(posting)
}

/// An authority may ask about the names of the order and about nothing else: the answer is a proof for whoever asks.
fn ordered_name(authorization: &AuthorizationHandle<'_>, names: &[ServerName]) -> Option<ServerName> {
    let authorized = authorization.identifier();
    let Identifier::Dns(text) = authorized.identifier else {
        return None;
    };
    let name = text.parse().ok()?;
    (!authorized.wildcard && names.contains(&name)).then_some(name)
}

/// Which challenge failed, and by what; the order itself often doesn't say.
async fn failure(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    for _ in 0..MAX_NAMES {
        let Some(Ok(mut authorization)) = authorizations.next().await else { break };
        let Ok(state) = authorization.refresh().await else { continue };
        let invalid = state.challenges.iter().find(|challenge| challenge.status == ChallengeStatus::Invalid);
        if let Some(challenge) = invalid {
            let kind = challenge.error.as_ref().and_then(|problem| problem.r#type.as_deref());
            return AcmeError::ChallengeFailed { problem: AcmeProblem::of_type(kind) };
        }
    }
    AcmeError::Refused { problem: AcmeProblem::INVALID_ORDER, retry_after: None }
}

/// The key and the names of the request, no others, and valid now: an authority is trusted with much, not with that.
fn check_certificate(
    pem: &str,
    request: &ApprovedRequest,
    now: SystemTime,
) -> Result<IssuedCertificate, AcmeError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CHAIN)
        .map(|certificate| certificate.map(CertificateDer::into_owned))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| AcmeError::Malformed {})?;
    let leaf = chain.first().ok_or(AcmeError::Malformed {})?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| AcmeError::Malformed {})?;
    let moment = |seconds: i64| time::OffsetDateTime::from_unix_timestamp(seconds).map(SystemTime::from).ok();
    let validity = leaf.validity();
    let not_before = moment(validity.not_before.timestamp()).ok_or(AcmeError::Malformed {})?;
    let not_after = moment(validity.not_after.timestamp()).ok_or(AcmeError::Malformed {})?;
    let is_ordered = leaf.public_key().raw == request.public_key_der()
        && has_exactly(&leaf, request.names())
        && now < not_after;
    if !is_ordered {
        return Err(AcmeError::Unordered {});
    }
    Ok(IssuedCertificate::new(chain, not_before, not_after))
}

fn has_exactly(certificate: &X509Certificate<'_>, names: &[ServerName]) -> bool {
    let Ok(Some(san)) = certificate.subject_alternative_name() else {
        return false;
    };
    let read = |name: &GeneralName<'_>| {
        let GeneralName::DNSName(name) = name else {
            return None;
        };
        name.parse::<ServerName>().ok()
    };
    let certified: Option<Vec<_>> = san.value.general_names.iter().map(read).collect();
    certified.is_some_and(|certified| {
        certified.iter().all(|name| names.contains(name)) && names.iter().all(|name| certified.contains(name))
    })
}

pub(super) fn last_answer(last: &Mutex<LastAnswer>) -> LastAnswer {
    *last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What instant-acme says, told apart by who is to do something about it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not told apart here is an answer that can't be understood"
)]
pub(super) fn error_of(error: instant_acme::Error, last: LastAnswer, now: SystemTime) -> AcmeError {
    match error {
        instant_acme::Error::Api(problem) => AcmeError::Refused {
            problem: AcmeProblem::of_type(problem.r#type.as_deref()),
            retry_after: last.retry_after(now),
        },
        instant_acme::Error::Other(source) => AcmeError::Transport { source },
        instant_acme::Error::Timeout(_) => AcmeError::TimedOut {},
        instant_acme::Error::Crypto | instant_acme::Error::KeyRejected => AcmeError::AccountKey {},
        // A proxy's page in place of an error document.
        _ if last.status.is_some_and(|status| status.is_client_error() || status.is_server_error()) => {
            AcmeError::Refused { problem: AcmeProblem::SERVER_INTERNAL, retry_after: last.retry_after(now) }
        }
        _ => AcmeError::Malformed {},
    }
}

/// Longer ones no client would take.
const MAX_CHAIN: usize = 10;
