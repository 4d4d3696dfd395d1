//! A look at the ports of a gateway: does the name lead to who ordered the certificate?

use super::desk::{Kind, Validation};
use super::{AnyCertificate, ValidationPorts};
use crate::provider;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// id-pe-acmeIdentifier (RFC 8737 §3).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Looks, or says by the kind of problem what was met instead.
pub(super) async fn look(validation: &Validation, ports: ValidationPorts) -> Result<(), &'static str> {
    let look = async {
        match validation.kind {
            Kind::Http01 => http_01(validation, ports).await,
            Kind::TlsAlpn01 => tls_alpn_01(validation, ports).await,
        }
    };
    timeout(DEADLINE, look).await.unwrap_or(Err("connection"))
}

/// RFC 8555 §8.3: the key authorization, and nothing but white space behind it.
async fn http_01(validation: &Validation, ports: ValidationPorts) -> Result<(), &'static str> {
    let socket = TcpStream::connect(ports.http).await.map_err(|_| "connection")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|_| "connection")?;
    tokio::spawn(connection);
    let request = Request::get(format!("/.well-known/acme-challenge/{}", validation.token))
        .header(header::HOST, &validation.host)
        .body(Empty::<Bytes>::new())
        .map_err(|_| "serverInternal")?;
    let response = sender.send_request(request).await.map_err(|_| "connection")?;
    if response.status() != StatusCode::OK {
        return Err("unauthorized");
    }
    let body = Limited::new(response.into_body(), 4096).collect().await.map_err(|_| "incorrectResponse")?;
    let is_right = body.to_bytes().trim_ascii_end() == validation.key_authorization.as_bytes();
    if is_right { Ok(()) } else { Err("incorrectResponse") }
}

/// RFC 8737 §3: a certificate for the name alone, with the digest in it, over the protocol made for this.
async fn tls_alpn_01(validation: &Validation, ports: ValidationPorts) -> Result<(), &'static str> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| "serverInternal")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate {}))
        .with_no_client_auth();
    config.alpn_protocols = vec![adit_tls_modes::ACME_TLS_1.to_vec()];
    let name = ServerName::try_from(validation.host.clone()).map_err(|_| "malformed")?;
    let socket = TcpStream::connect(ports.https).await.map_err(|_| "connection")?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|_| "tls")?;
    let session = tls.get_ref().1;
    if session.alpn_protocol() != Some(adit_tls_modes::ACME_TLS_1) {
        return Err("tls");
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or("tls")?;
    let digest = Sha256::digest(&validation.key_authorization);
    let is_right = is_answer(certificate, &validation.host, &digest).unwrap_or(false);
    if is_right { Ok(()) } else { Err("unauthorized") }
}

fn is_answer(certificate: &CertificateDer<'_>, host: &str, digest: &[u8]) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let san = certificate.subject_alternative_name().ok()??;
    let [GeneralName::DNSName(name)] = san.value.general_names.as_slice() else {
        return None;
    };
    let identifier =
        certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER)?;
    // An OCTET STRING of 32 octets.
    let value = identifier.value.strip_prefix(&[0x04, 0x20])?;
    Some(name.eq_ignore_ascii_case(host) && identifier.critical && value == digest)
}
