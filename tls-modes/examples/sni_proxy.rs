//! Routes TLS connections by the name they ask for, without ending TLS: `sni_proxy LISTEN HOST=TARGET...`
//!
//! `cargo run -p adit-tls-modes --example sni_proxy --features tokio -- 127.0.0.1:8443 example.com=example.com:443`, then
//! `curl --connect-to example.com:443:127.0.0.1:8443 https://example.com/`.
#![allow(clippy::disallowed_methods, reason = "a program has sockets, tasks and a clock")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use adit_tls_modes::{
    Domain, Mode, ModePolicy, NameStanding, SniffError, SniffLimits, Sniffed, choose_mode, refuse, sniff,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

type Routes = HashMap<String, String>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: sni_proxy LISTEN HOST=TARGET...")?;
    let routes: Option<Routes> = arguments
        .map(|route| {
            route.split_once('=').map(|(host, target)| (host.to_ascii_lowercase(), target.to_owned()))
        })
        .collect();
    let routes = Arc::new(routes.ok_or("a route is HOST=TARGET")?);
    let listener = TcpListener::bind(&listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (visitor, address) = listener.accept().await?;
        let routes = Arc::clone(&routes);
        tokio::spawn(async move {
            if let Err(error) = serve(visitor, &routes).await {
                eprintln!("{address}: {error}");
            }
        });
    }
}

async fn serve(visitor: TcpStream, routes: &Routes) -> Result<(), Box<dyn Error>> {
    let limits = SniffLimits::new();
    let (hello, mut visitor) = match sniff(visitor, limits, Instant::now() + Duration::from_secs(10)).await {
        Ok(sniffed) => sniffed,
        Err(SniffError::Refused { error, mut io, .. }) => {
            say_no(&mut io, error.alert()).await;
            return Err(error.into());
        }
        Err(error) => return Err(error.to_string().into()),
    };
    let mode = choose_mode(&hello, &ModePolicy::new(), |name| match routes.contains_key(name.as_str()) {
        true => NameStanding::Passthrough(Domain::Custom),
        false => NameStanding::Unknown,
    });
    let (Mode::Passthrough { name } | Mode::Edge { name }) = mode else {
        let Mode::Refuse { reason } = mode else { return Ok(()) };
        say_no(&mut visitor, Some(reason.alert())).await;
        return Err(reason.into());
    };
    let target = routes.get(name.as_str()).ok_or("no route")?;
    let mut upstream = TcpStream::connect(target).await?;
    let (up, down) = copy_bidirectional(&mut visitor, &mut upstream).await?;
    println!("{name}: {up} bytes up, {down} bytes down");
    Ok(())
}

/// A visitor who does not read his refusal must not keep the connection.
async fn say_no(visitor: &mut Sniffed<TcpStream>, alert: Option<adit_tls_modes::AlertDescription>) {
    let _ = timeout(Duration::from_secs(1), refuse(visitor, alert)).await;
}
