//! `adit-errors`: what clients are sent, what callers send.

use adit_errors::idempotency::IdempotencyKey;
use adit_errors::{Format, Reply, RequestId, Shape, Style, read_request};

/// The first two bytes are an HTTP status, the rest a body. Whatever it is, there is an answer with a short message;
/// shown again, as an envelope and as a problem, it is read back as the same.
///
/// # Panics
/// If that does not hold.
pub fn envelope(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status);
    let reply = Reply::parse(status, body);
    let refusal = reply.refusal().clone();
    assert!(refusal.message().len() <= 1024);
    assert!((400..=599).contains(&refusal.status()));

    let id = reply.request_id().cloned().unwrap_or_else(|| RequestId::from_random(1));
    let envelope = refusal.clone().with_request_id(id.clone());
    let json = envelope.to_json();
    assert!(json.len() <= 8192);
    let again = Reply::parse(status, &json);
    assert_eq!(again.shape(), Shape::Structured);
    assert_eq!(again.request_id(), Some(&id));
    assert_eq!(again.refusal().code(), refusal.code());
    assert_eq!(again.refusal().next_action(), refusal.next_action());
    assert_eq!(again.refusal().message(), refusal.message());
    assert_eq!(again.refusal().retry_after(), envelope.retry_after());
    assert!(refusal.retry_after().is_none() || envelope.retry_after() == refusal.retry_after());
    assert_eq!(again.refusal().status(), refusal.status());

    // Only a problem carries the source as well.
    let problem = envelope.to_body(&Style::new().with_format(Format::Problem));
    let again = Reply::parse(status, &problem);
    assert_eq!(again.shape(), Shape::Problem);
    assert_eq!(again.refusal(), envelope.refusal());
}

/// A field value. A key that is taken is short ASCII, and quoting it gives the same key.
///
/// # Panics
/// If that does not hold.
pub fn idempotency_key(data: &[u8]) {
    let fields = IdempotencyKey::from_fields([data]);
    let Ok(key) = IdempotencyKey::parse(data) else {
        assert!(fields.is_err());
        return;
    };
    assert_eq!(fields, Ok(Some(key.clone())));
    let text = key.as_str();
    assert!((1..=255).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(IdempotencyKey::parse(quoted.as_bytes()), Ok(key.clone()));
    assert_eq!(IdempotencyKey::parse(&[b" ", quoted.as_bytes(), b"\t"].concat()), Ok(key));
}

/// A request body. What is taken is what a plain reader reads, and is taken again; what is refused is 400 or 413.
///
/// # Panics
/// If that does not hold.
pub fn request_body(data: &[u8]) {
    const LIMIT: usize = 4096;
    let plain = serde_json::from_slice::<serde_json::Value>(data);
    match read_request::<serde_json::Value>(data, LIMIT) {
        Ok(value) => {
            assert!(data.len() <= LIMIT);
            assert_eq!(plain.ok().as_ref(), Some(&value));
            // Not compared: floats are read fast, not exactly, and may differ in the last place.
            let again = value.to_string();
            assert!(read_request::<serde_json::Value>(again.as_bytes(), again.len()).is_ok());
        }
        Err(refusal) if data.len() > LIMIT => assert_eq!(refusal.status(), 413),
        Err(refusal) => assert_eq!(refusal.status(), 400),
    }
}
