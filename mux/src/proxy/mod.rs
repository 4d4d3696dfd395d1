//! Through an HTTP proxy: where only a proxy leads out, a carrier on TCP begins with CONNECT (RFC 9110 §9.3.6), and what
//! comes behind it is as without.
//!
//! ```text
//!  environment ─► ProxySettings ─ proxy_for(target) ─► None: dial the target
//!                                                  └─► Some(proxy): dial the proxy, then connect(io, proxy, target)
//!                                                        └─► Tunnelled: TLS to the target, WebSocket, anything
//! ```
//!
//! Nothing here reads the environment, resolves names or dials: variables and connections are arguments. Passwords stay out
//! of errors and debug output, and are wiped when dropped.
//!
//! ```rust
//! use adit_mux::proxy::{ProxySettings, Target};
//!
//! let settings = ProxySettings::from_variables(|name| match name {
//!     "HTTPS_PROXY" => Some("http://me:secret@proxy.corp.example:3128".to_owned()),
//!     "NO_PROXY" => Some("localhost, 10.0.0.0/8, .internal.example".to_owned()),
//!     _ => None,
//! })?;
//! let gateway = Target::new("gateway.example", 443)?;
//! let proxy = settings.proxy_for(&gateway).ok_or("there is one")?;
//! assert_eq!((proxy.host(), proxy.port()), ("proxy.corp.example", 3128));
//! assert!(settings.proxy_for(&Target::new("10.1.2.3", 443)?).is_none());
//! assert!(!format!("{settings:?}").contains("secret"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod bypass;
mod error;
mod handshake;
mod settings;
mod tunnel;

pub use address::{Proxy, Target};
pub use error::{ConnectError, ProxyUrlError, SettingsError, TargetError};
pub use handshake::{Handshake, Progress};
pub use settings::ProxySettings;
pub use tunnel::{ConnectOptions, Tunnelled, connect};
