//! Visitors of a tunnel with several agents: who is asked, and when another one may be asked instead.
//!
//! | the stream | and then |
//! |---|---|
//! | was refused, or never seen | another agent gets all of it again: nothing can have been done |
//! | was cut off, with nothing that could have an effect | another agent |
//! | was cut off, with octets that nobody here can judge | the visitor is cut off, too: the work may have been done |
//! | was answered, if only by an octet | no other agent |
//!
//! Who comes by HTTP sticks by a cookie, and anybody else by the address.

use super::hub::{Facts, Hub, Link, Work};
use super::repeat::Loss;
use crate::{BoxError, random};
use adit_mux::{Stream, StreamError};
use adit_router::{Dispatch, Stick, Tunnel};
use adit_wire_proto::{Protocol, StreamHeadBuilder};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Agents that one visitor may be brought to, one after the other.
const MAX_ATTEMPTS: usize = 3;

/// What a visitor may have said before the first answer that can still be said again.
const MAX_SAID_BYTES: usize = 16 * 1024;

/// Attempts for a visitor who comes back to where others of the address go.
pub(super) fn by_address(address: IpAddr) -> Dispatch {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => Stick::by_bytes(&address.octets()),
        IpAddr::V6(address) => Stick::by_bytes(&address.octets()),
    };
    by(address)
}

/// Attempts for a visitor who sticks.
pub(super) fn by(stick: Stick) -> Dispatch {
    Dispatch::new(random::number()).stick(stick).max_attempts(MAX_ATTEMPTS)
}

/// Whether there is a choice.
pub(super) fn is_shared(tunnel: &Tunnel<Link, Facts>) -> bool {
    tunnel.agents().len() > 1
}

/// A visitor's stream to an agent, and what was answered on it already.
pub(super) struct Met {
    pub(super) stream: Stream,
    pub(super) work: Work,
    /// To be handed on first.
    pub(super) answer: Bytes,
}

/// Opens a stream for a visitor of whose octets nothing is understood here, and hands them on until the first answer; if
/// that doesn't come because the agent is gone, another one is asked.
///
/// `greeting` is what the visitor said before; it can't have an effect, so that it may be said twice.
///
/// # Errors
/// A refusal for the visitor, if no agent takes the stream or the last one is gone; or what is wrong with the visitor.
pub(super) async fn meet<Io>(
    hub: &Hub,
    dispatch: &mut Dispatch,
    protocol: Option<Protocol>,
    find: impl Fn(&Hub) -> Option<Arc<Tunnel<Link, Facts>>>,
    describe: impl Fn(StreamHeadBuilder) -> StreamHeadBuilder,
    io: &mut Io,
    greeting: &[u8],
) -> Result<Met, BoxError>
where
    Io: AsyncRead + Unpin,
{
    let mut said = Vec::from(greeting);
    let room = said.len().saturating_add(MAX_SAID_BYTES);
    loop {
        let (mut stream, work) = hub.open(dispatch, protocol, &find, &describe).await?;
        let error = match first_answer(&mut stream, io, &mut said, room).await {
            Ok(answer) => {
                dispatch.answered();
                return Ok(Met { stream, work, answer });
            }
            Err(Silence::Visitor(error)) => return Err(error.into()),
            Err(Silence::Agent(error)) => error,
        };
        let may_be_asked_again = match Loss::of(&error) {
            Loss::Unseen => true,
            Loss::Session => said.len() == greeting.len(),
            Loss::Other => false,
        };
        if !may_be_asked_again {
            return Err(error.into());
        }
        tracing::debug!(%error, "a visitor goes to another agent");
    }
}

/// The same for a tunnel with one agent: there is nothing to wait for.
///
/// # Errors
/// As [`Hub::open`].
pub(super) async fn open(
    hub: &Hub,
    dispatch: &mut Dispatch,
    protocol: Option<Protocol>,
    find: impl Fn(&Hub) -> Option<Arc<Tunnel<Link, Facts>>>,
    describe: impl Fn(StreamHeadBuilder) -> StreamHeadBuilder,
) -> Result<Met, BoxError> {
    let (stream, work) = hub.open(dispatch, protocol, find, describe).await?;
    Ok(Met { stream, work, answer: Bytes::new() })
}

/// Why there is no answer.
enum Silence {
    Agent(StreamError),
    Visitor(std::io::Error),
}

impl From<StreamError> for Silence {
    fn from(error: StreamError) -> Self {
        Self::Agent(error)
    }
}

/// Says what was `said`, and whatever the visitor says beside, until the agent answers. Nothing once the visitor has ended,
/// or has said more than is kept: then it is too late for another agent.
async fn first_answer<Io>(
    stream: &mut Stream,
    io: &mut Io,
    said: &mut Vec<u8>,
    room: usize,
) -> Result<Bytes, Silence>
where
    Io: AsyncRead + Unpin,
{
    if !said.is_empty() {
        stream.write_chunk(Bytes::copy_from_slice(said)).await?;
    }
    loop {
        let sent = said.len();
        let mut more = (&mut *io).take(room.saturating_sub(sent).try_into().unwrap_or(0));
        tokio::select! {
            answer = stream.read_chunk() => return Ok(answer?.unwrap_or_default()),
            read = more.read_buf(said) => match read {
                Ok(0) => return Ok(Bytes::new()),
                Ok(_) => stream.write_chunk(Bytes::copy_from_slice(&said[sent..])).await?,
                Err(error) => return Err(Silence::Visitor(error)),
            }
        }
    }
}
