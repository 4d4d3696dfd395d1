//! Requests, and their answers, which may take their time.

use super::error::LinkError;
use super::stream::{Bridge, ReceiveHalf, SendHalf};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::server::SendResponse;
use http::{Request, Response};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A request of the peer. To keep it is to park it: it counts against the peer's limit of streams, and nothing else
/// happens. To drop it resets it with CANCEL.
#[derive(Debug)]
pub struct Asked {
    head: Request<()>,
    reply: Reply,
    receive: ReceiveHalf,
}

impl Asked {
    pub(super) fn new(request: Request<h2::RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let (reply, receive) = (Reply { respond }, ReceiveHalf::new(body));
        Self { head: Request::from_parts(head, ()), reply, receive }
    }

    /// Whether there is a `:path`, as all but plain CONNECT must have (RFC 9113 section 8.3.1, RFC 8441 section 4).
    pub(super) fn has_target(&self) -> bool {
        let is_plain_connect = self.head.method() == http::Method::CONNECT && self.protocol().is_none();
        is_plain_connect || !self.head.uri().path().is_empty()
    }

    /// Method, target and header fields.
    pub const fn head(&self) -> &Request<()> {
        &self.head
    }

    /// The `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        self.head.extensions().get::<Protocol>().map(Protocol::as_str)
    }

    /// HTTP/2's number of the stream.
    pub fn id(&self) -> u32 {
        self.reply.id()
    }

    /// Answers with a head; octets may follow both ways.
    ///
    /// # Errors
    /// [`LinkError`] if the request is over.
    pub fn answer(self, head: Response<()>) -> Result<Answered, LinkError> {
        Ok(Answered { send: self.reply.answer(head)?, receive: self.receive })
    }

    /// Answers with a head alone.
    ///
    /// # Errors
    /// [`LinkError`] if the request is over.
    pub fn answer_whole(self, head: Response<()>) -> Result<(), LinkError> {
        self.reply.answer_whole(head)
    }

    /// Turns the request down with any code.
    pub fn reset(self, code: u32) {
        self.reply.reset(code);
    }

    /// The way back and the request's body, to be used apart.
    pub fn into_parts(self) -> (Request<()>, Reply, ReceiveHalf) {
        (self.head, self.reply, self.receive)
    }
}

/// The way back to whoever asked, not used yet.
pub struct Reply {
    respond: SendResponse<Bytes>,
}

impl Reply {
    /// Answers with a head; octets may follow.
    ///
    /// # Errors
    /// [`LinkError`] if the request is over.
    pub fn answer(mut self, head: Response<()>) -> Result<SendHalf, LinkError> {
        Ok(SendHalf::new(self.respond.send_response(head, false)?))
    }

    /// Answers with a head alone.
    ///
    /// # Errors
    /// [`LinkError`] if the request is over.
    pub fn answer_whole(mut self, head: Response<()>) -> Result<(), LinkError> {
        self.respond.send_response(head, true)?;
        Ok(())
    }

    /// Turns the request down with any code.
    pub fn reset(mut self, code: u32) {
        self.respond.send_reset(code.into());
    }

    /// Waits until the peer gives a parked request up; says with which code. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError`] if the connection ends first.
    pub async fn given_up(&mut self) -> Result<u32, LinkError> {
        poll_fn(|task| self.poll_given_up(task)).await
    }

    /// As [`given_up`](Self::given_up), for hand-written futures.
    ///
    /// # Errors
    /// As [`given_up`](Self::given_up).
    pub fn poll_given_up(&mut self, task: &mut Context<'_>) -> Poll<Result<u32, LinkError>> {
        self.respond.poll_reset(task).map_ok(u32::from).map_err(LinkError::from)
    }

    /// HTTP/2's number of the stream.
    pub fn id(&self) -> u32 {
        self.respond.stream_id().as_u32()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Both halves of a request that this side answered.
#[derive(Debug)]
pub struct Answered {
    /// The answer's body.
    pub send: SendHalf,
    /// The request's body.
    pub receive: ReceiveHalf,
}

impl Answered {
    /// Both halves as one flow of octets.
    pub fn into_bridge(self) -> Bridge {
        Bridge::new(self.send, self.receive)
    }
}

/// A request of this side: its body, and the answer to come.
#[derive(Debug)]
pub struct Exchange {
    /// The request's body. To drop it unfinished resets the stream.
    pub send: SendHalf,
    /// The answer.
    pub answer: Answer,
}

impl Exchange {
    /// Waits for an answer of 200 and makes one flow of octets of both halves.
    ///
    /// # Errors
    /// The head of another answer, or [`LinkError`] if there was none.
    pub async fn into_bridge(self) -> Result<Result<Bridge, Response<()>>, LinkError> {
        let (head, receive) = self.answer.await?;
        Ok(match head.status() {
            http::StatusCode::OK => Ok(Bridge::new(self.send, receive)),
            _ => Err(head),
        })
    }
}

/// The answer to a request of this side: its head, and then its body. Informational answers are skipped.
pub struct Answer {
    response: ResponseFuture,
}

impl Answer {
    pub(super) const fn new(response: ResponseFuture) -> Self {
        Self { response }
    }
}

impl Future for Answer {
    type Output = Result<(Response<()>, ReceiveHalf), LinkError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let (head, body) = ready!(Pin::new(&mut self.response).poll(task))?.into_parts();
        Poll::Ready(Ok((Response::from_parts(head, ()), ReceiveHalf::new(body))))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
