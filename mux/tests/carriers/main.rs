//! One suite of what sessions do, on every carrier that is compiled in.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks, sockets and clock"
)]

mod ends;
mod floods;
mod flows;
mod observed;
mod pair;
#[path = "../common/recorder.rs"]
mod recorder;
mod script;
mod streams;

#[cfg(feature = "h2")]
mod h2;
#[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
mod quic;
#[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
mod quic_hostile;

/// Makes a module for each carrier, with each of these tests in it.
macro_rules! on_every_carrier {
    ($($test:ident)*) => {
        mod native {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::pair::On::Native).await;
            })*
        }

        #[cfg(feature = "websocket")]
        mod websocket {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::pair::On::WebSocket).await;
            })*
        }

        #[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
        mod quic {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::pair::On::Quic).await;
            })*
        }

        #[cfg(feature = "h2")]
        mod h2 {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::pair::On::H2).await;
            })*
        }
    };
}
use on_every_carrier;
