//! The other side of the one under test: a gateway's visitor, or an agent's upstream.

use super::script::Local;
use crate::BoxError;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the other side is, and its connection once there is one.
#[derive(Debug)]
pub(super) struct Other<'a> {
    /// The public address, once a gateway has given one.
    pub(super) address: Option<String>,
    /// Where an agent's upstream listens.
    upstream: Option<&'a TcpListener>,
    socket: Option<TcpStream>,
}

impl<'a> Other<'a> {
    pub(super) const fn new(upstream: Option<&'a TcpListener>) -> Self {
        Self { address: None, upstream, socket: None }
    }

    pub(super) async fn act(&mut self, action: Local) -> Result<(), BoxError> {
        match action {
            Local::Open => {
                let socket = timeout(PATIENCE, self.open()).await.map_err(|_| "no connection in time")??;
                self.socket = Some(socket);
            }
            Local::Finish => self.socket()?.shutdown().await?,
            Local::End => {
                let mut octet = [0; 1];
                let read = self.socket()?.read(&mut octet);
                if timeout(PATIENCE, read).await.map_err(|_| "no end in time")?? != 0 {
                    return Err("octets came where the end was expected".into());
                }
            }
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, text: &str) -> Result<(), BoxError> {
        Ok(timeout(PATIENCE, self.socket()?.write_all(text.as_bytes())).await??)
    }

    pub(super) async fn expect(&mut self, text: &str) -> Result<(), BoxError> {
        let mut octets = vec![0; text.len()];
        timeout(PATIENCE, self.socket()?.read_exact(&mut octets))
            .await
            .map_err(|_| "nothing came in time")??;
        if octets != text.as_bytes() {
            return Err(format!("`{}` came", octets.escape_ascii()).into());
        }
        Ok(())
    }

    async fn open(&self) -> Result<TcpStream, BoxError> {
        if let Some(upstream) = self.upstream {
            return Ok(upstream.accept().await?.0);
        }
        let address = self.address.as_deref().ok_or("the gateway has given no public address")?;
        let address = address.strip_prefix("tcp://").ok_or("the public address is no tcp://host:port")?;
        Ok(TcpStream::connect(address).await?)
    }

    fn socket(&mut self) -> Result<&mut TcpStream, BoxError> {
        self.socket.as_mut().ok_or_else(|| "the script opens nothing here".into())
    }
}
