//! Public UDP ports: which visitor's datagrams belong together, and what may be sent back.

mod flows;
mod limits;
#[cfg(test)]
mod tests;
mod turns;

pub use flows::{UdpAnswer, UdpFlowId, UdpFlows, UdpRefused};
pub use limits::{UdpFlowLimits, UdpFlowStats};
