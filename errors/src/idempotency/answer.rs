use std::fmt;

use zeroize::Zeroizing;

/// A successful answer, kept for replay. It may hold secrets, such as a connect secret that is shown only once: `Debug`
/// shows neither fields nor body, and both are wiped from memory when the answer is dropped.
///
/// An error cannot become an `Answer`, so a store cannot keep one.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    fields: Vec<(Box<str>, Zeroizing<Vec<u8>>)>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The answer with this status, these header fields in order, and this body.
    ///
    /// Fields that belong to the connection are left out: `Connection`, what it names, `Keep-Alive`, `Transfer-Encoding`
    /// and the like (RFC 9110 §7.6.1).
    ///
    /// # Errors
    /// [`NotStored`], if the status is none from 200 to 399, or if fields and body together have more than `max_bytes`.
    pub fn new(
        status: u16,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<Self, NotStored> {
        let body = Zeroizing::new(body);
        let named = connection_options(&fields);
        let kept = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), Zeroizing::new(value)));
        let fields: Vec<_> = kept
            .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name))
            .map(|(name, value)| (name.into_boxed_str(), value))
            .collect();
        let answer = Self { status, fields, body };
        if !(200..400).contains(&status) {
            return Err(NotStored::Failure { status });
        }
        if answer.size_bytes() > max_bytes {
            return Err(NotStored::TooLarge { max_bytes });
        }
        Ok(answer)
    }

    /// The HTTP status, 200 to 399.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The header fields, names in lower case, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_slice()))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many bytes a store counts for it: fields, body, and 32 for each field.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let fields =
            self.fields().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(32));
        fields.fold(self.body.len(), usize::saturating_add)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why an answer was not stored. It goes out all the same; the key may be used again, and the request is carried out
/// again then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStored {
    /// It is a failure, or no final answer.
    #[error("answers with status {status} are not stored")]
    Failure {
        /// Its status.
        status: u16,
    },
    /// It is larger than a stored answer may be.
    #[error("answers of more than {max_bytes} bytes are not stored")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The principal's bytes, or the whole store's, are used up.
    #[error("there is no room left to store the answer")]
    NoRoom {},
    /// The lease was over, and another request with the key has begun.
    #[error("the lease was over, and the key is taken by a later request")]
    LeaseOver {},
}

/// The field names that `Connection` lists, in lower case.
fn connection_options(fields: &[(String, Vec<u8>)]) -> Vec<String> {
    let connection = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let values = connection.map(|(_, value)| String::from_utf8_lossy(value));
    values
        .flat_map(|value| {
            value.split(',').map(|option| option.trim().to_ascii_lowercase()).collect::<Vec<_>>()
        })
        .collect()
}

const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_an_error_cannot_become_an_answer() {
        for status in [100, 101, 199, 400, 404, 409, 429, 500, 503, 599, 600] {
            assert_eq!(Answer::new(status, vec![], vec![], 10), Err(NotStored::Failure { status }));
        }
        for status in [200, 201, 204, 302, 399] {
            assert!(Answer::new(status, vec![], vec![], 10).is_ok());
        }
    }

    #[test]
    fn b16_an_answer_over_the_limit_is_none() {
        let max_bytes = 1 << 20;
        assert!(Answer::new(200, vec![], vec![0; max_bytes], max_bytes).is_ok());
        let large = Answer::new(200, vec![], vec![0; max_bytes + 1], max_bytes);
        assert_eq!(large, Err(NotStored::TooLarge { max_bytes }));
        let fields = vec![("x".repeat(1 << 20), Vec::new())];
        assert_eq!(Answer::new(200, fields, vec![], max_bytes), Err(NotStored::TooLarge { max_bytes }));
    }

    #[test]
    fn fields_of_the_connection_are_left_out() {
        let fields =
            [("Connection", "close, X-Hop"), ("x-hop", "1"), ("Set-Cookie", "a=b"), ("Upgrade", "x")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec();
        let answer = Answer::new(201, fields, vec![], 1000).unwrap();
        assert_eq!(answer.fields().collect::<Vec<_>>(), [("set-cookie", b"a=b".as_slice())]);
    }

    #[test]
    fn b18_x06_debug_shows_no_secret() {
        let fields = vec![("x-canary".to_owned(), b"canary".to_vec())];
        let answer = Answer::new(201, fields, b"connect_secret: canary".to_vec(), 1000).unwrap();
        assert_eq!(format!("{answer:?}"), "Answer { status: 201, .. }");
        assert!(!format!("{answer:#?}").contains("canary"));
    }
}
