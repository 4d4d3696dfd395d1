use crate::envelope::Envelope;

/// Where an answer stands, so that a failure is told in the one way that is still open.
///
/// ```text
///            head_sent             finished
/// Unsent ───────────────▶ Sending ──────────▶ Done
///    │ fail                  │ fail              │ fail
///    ▼                       ▼                   ▼
/// Outcome::Answer        Outcome::Reset     Outcome::Nothing
/// ```
///
/// Once the head is out, its status and length are promised: JSON behind it would be taken for the upstream's bytes. The
/// stream is reset then, so that the receiver sees that something is missing.
///
/// ```
/// use adit_errors::{Code, Exchange, Outcome, Refusal, RequestId};
///
/// let failure = || Refusal::from(Code::UPSTREAM_RESET).with_request_id(RequestId::from_random(7));
/// let mut exchange = Exchange::new();
/// exchange.head_sent();
/// assert!(matches!(exchange.fail(failure()), Outcome::Reset { .. }));
/// assert!(matches!(exchange.fail(failure()), Outcome::Nothing {}));
/// ```
#[derive(Debug)]
pub struct Exchange {
    stage: Stage,
}

/// What to do about a failure.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was sent yet: answer with this envelope.
    Answer {
        /// The envelope, to be sent as the whole answer.
        envelope: Box<Envelope>,
    },
    /// The head is out: reset the stream, append nothing.
    Reset {
        /// What would have been said; for the log and for the reset's code.
        envelope: Box<Envelope>,
    },
    /// The answer is complete, or its failure was told before: leave it.
    Nothing {},
}

impl Exchange {
    /// An exchange whose answer has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self { stage: Stage::Unsent }
    }

    /// The first byte of the answer's head has left.
    pub const fn head_sent(&mut self) {
        if matches!(self.stage, Stage::Unsent) {
            self.stage = Stage::Sending;
        }
    }

    /// The answer has left as a whole.
    pub const fn finished(&mut self) {
        self.stage = Stage::Done;
    }

    /// A failure happened: says how to tell it, once.
    #[must_use]
    pub fn fail(&mut self, envelope: Envelope) -> Outcome {
        let envelope = Box::new(envelope);
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Unsent => Outcome::Answer { envelope },
            Stage::Sending => Outcome::Reset { envelope },
            Stage::Done => Outcome::Nothing {},
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Unsent,
    Sending,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Refusal, RequestId};

    #[test]
    fn x10_a_failure_after_the_head_resets_and_appends_nothing() {
        let mut exchange = Exchange::new();
        exchange.head_sent();
        assert!(matches!(exchange.fail(failure()), Outcome::Reset { .. }));
        exchange.head_sent();
        assert!(matches!(exchange.fail(failure()), Outcome::Nothing {}));
    }

    #[test]
    fn a_failure_before_the_head_is_the_answer() {
        let mut exchange = Exchange::new();
        let Outcome::Answer { envelope } = exchange.fail(failure()) else { panic!("nothing was sent yet") };
        assert_eq!(envelope.code(), &Code::UPSTREAM_RESET);
        assert!(matches!(exchange.fail(failure()), Outcome::Nothing {}));
    }

    #[test]
    fn a_finished_answer_stays_as_it_is() {
        let mut exchange = Exchange::default();
        exchange.head_sent();
        exchange.finished();
        assert!(matches!(exchange.fail(failure()), Outcome::Nothing {}));
    }

    fn failure() -> Envelope {
        Refusal::from(Code::UPSTREAM_RESET).with_request_id(RequestId::from_random(7))
    }
}
