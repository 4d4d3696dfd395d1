//! A tunnel without a public address, reached by other agents.

use super::World;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{connect, exchange, get};
use crate::BoxError;
use crate::agent::{Terms, Tunnel};
use http::StatusCode;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long one connection may take from end to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent of the same credential reaches it; one of another learns no more than of a name that nobody has, until it is
/// granted.
pub(crate) async fn private(world: &mut World) -> Outcome {
    let name = Some("my-db".to_owned());
    let tunnel = Tunnel::Tcp { upstream: world.echo().into(), name, public_port: None };
    let terms = Terms { private: true, ..Terms::default() };
    let (addresses, _) = world.agent_on("my-db", tunnel, terms).await?;
    expect(addresses.is_empty(), "it has no public address")?;
    let public = exchange(world.http().await?, get(&world.host("my-db"), "/")?).await?;
    expect_status(&public, StatusCode::NOT_FOUND)?;
    let own = world.reach("my-db", None).await?;
    expect(echoed(own).await? == ECHO, "its owner's agent reaches it")?;

    let mint = json!({ "name": "a colleague's", "tunnelQuota": 0 });
    let (_, token) = world.api("POST", "/tokens", &mint).await?;
    let key = token["apiKey"].as_str().ok_or("no key")?;
    let (there, nowhere) = (world.reach("my-db", Some(key)).await?, world.reach("no-db", Some(key)).await?);
    for address in [there, nowhere] {
        expect(echoed(address).await?.is_empty(), "others find nothing there")?;
    }
    let grant = json!({ "viewers": [token["id"]] });
    expect(world.api("PUT", "/tunnels/my-db/reach", &grant).await?.0 == 200, "its owner grants it")?;
    expect(echoed(there).await? == ECHO, "who is granted reaches it")?;
    Ok(moved(4 * ECHO.len()))
}

/// What the upstream makes of `select 1`.
const ECHO: &[u8] = b"select 18 octets";

/// What comes back of a few octets; nothing, if the connection is refused at its far end.
async fn echoed(local: SocketAddr) -> Result<Vec<u8>, BoxError> {
    let mut io = connect(local).await?;
    let mut reply = Vec::new();
    let conversation = async {
        io.write_all(b"select 1").await?;
        io.shutdown().await?;
        io.read_to_end(&mut reply).await
    };
    // A reset says no as well as an end does.
    let _ = tokio::time::timeout(PATIENCE, conversation).await?;
    Ok(reply)
}
