//! Several agents behind one name.

use super::World;
use super::rows::{Outcome, expect, expect_status, moved};
use super::visitor::{exchange, get, text};
use crate::agent::{Terms, Tunnel};
use http::{StatusCode, header};

/// Two agents share a name: a visitor comes back to the one it had, and to the other once that is gone.
pub(crate) async fn one_name(world: &mut World) -> Outcome {
    let tunnel = Tunnel::Http { upstream: world.upstream().into(), name: Some("my-team".to_owned()) };
    let terms = Terms { share_load: true, ..Terms::default() };
    for agent in ["my-team-1", "my-team-2"] {
        world.agent_on(agent, tunnel.clone(), terms.clone()).await?;
    }
    let host = world.host("my-team");
    let response = exchange(world.http().await?, get(&host, "/")?).await?;
    expect_status(&response, StatusCode::OK)?;
    let set = response.headers().get(header::SET_COOKIE).ok_or("no cookie to come back by")?.to_str()?;
    let cookie = set.split(';').next().unwrap_or_default().to_owned();
    let mut total = text(response).await?.len();
    for leaves in [None, Some("my-team-1"), None] {
        if let Some(agent) = leaves {
            world.stop_agent(agent);
        }
        let mut request = get(&host, "/")?;
        request.headers_mut().insert(header::COOKIE, cookie.parse()?);
        let response = exchange(world.http().await?, request).await?;
        expect_status(&response, StatusCode::OK)?;
        expect(!response.headers().contains_key(header::SET_COOKIE), "the cookie outlives the agent")?;
        total += text(response).await?.len();
    }
    Ok(moved(total))
}
