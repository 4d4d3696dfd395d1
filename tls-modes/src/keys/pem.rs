use zeroize::Zeroizing;

/// Writes one PEM block (RFC 7468 §2): lines of 64 characters. The text is wiped when it is dropped, since it may
/// hold a private key.
pub(crate) fn write_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(data_encoding::BASE64.encode(der));
    // Reserved in full, so that no half-written copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 2 * label.len() + 64));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while let Some((line, next)) = rest.split_at_checked(LINE_CHARS) {
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

const LINE_CHARS: usize = 64;
