//! How much of QUIC the operating system keeps.

use socket2::SockRef;
use std::io;
use std::net::UdpSocket;

/// What the operating system keeps of a UDP socket's packets. Too little of it drops packets whenever the process is busy
/// elsewhere for a moment, which QUIC takes for a full network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpBuffers {
    receive_bytes: usize,
    send_bytes: usize,
}

impl UdpBuffers {
    /// What a session at 1 Gbit/s wants: 50 ms of it, in octets.
    pub const WANTED_BYTES: usize = 7 * 1024 * 1024;

    /// Asks for [`WANTED_BYTES`](Self::WANTED_BYTES) each way; says what there is now. Systems give less than was asked
    /// without a word.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn raise(socket: &UdpSocket) -> io::Result<Self> {
        let before = Self::of(socket)?;
        let handle = SockRef::from(socket);
        if before.receive_bytes < Self::WANTED_BYTES {
            handle.set_recv_buffer_size(Self::WANTED_BYTES)?;
        }
        if before.send_bytes < Self::WANTED_BYTES {
            handle.set_send_buffer_size(Self::WANTED_BYTES)?;
        }
        Self::of(socket)
    }

    /// What there is now.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn of(socket: &UdpSocket) -> io::Result<Self> {
        let handle = SockRef::from(socket);
        // Linux tells twice what it was asked for, which is what packets have to share with their overhead.
        let halves = if cfg!(target_os = "linux") { 2 } else { 1 };
        Ok(Self {
            receive_bytes: handle.recv_buffer_size()? / halves,
            send_bytes: handle.send_buffer_size()? / halves,
        })
    }

    /// SO_RCVBUF, in octets of packets.
    pub const fn receive_bytes(&self) -> usize {
        self.receive_bytes
    }

    /// SO_SNDBUF, in octets of packets.
    pub const fn send_bytes(&self) -> usize {
        self.send_bytes
    }

    /// What whoever runs the machine could do about it; `None` if there is enough.
    pub fn hint(&self) -> Option<&'static str> {
        if self.receive_bytes.min(self.send_bytes) >= Self::WANTED_BYTES {
            return None;
        }
        Some(match std::env::consts::OS {
            "linux" => "UDP buffers are small: sysctl -w net.core.rmem_max=7340032 net.core.wmem_max=7340032",
            "macos" | "freebsd" => "UDP buffers are small: sysctl -w kern.ipc.maxsockbuf=8441037",
            _ => "UDP buffers are small: raise what the system allows for a socket to 7 MiB",
        })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test owns its sockets")]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_raised_as_far_as_the_system_lets_and_small_ones_have_a_hint() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        SockRef::from(&socket).set_recv_buffer_size(16 * 1024).unwrap();
        let small = UdpBuffers::of(&socket).unwrap();
        assert_eq!(small.receive_bytes(), 16 * 1024);
        assert!(small.hint().unwrap().contains("small"));
        let raised = UdpBuffers::raise(&socket).unwrap();
        assert!(raised.receive_bytes() > small.receive_bytes());
        let enough = UdpBuffers { receive_bytes: UdpBuffers::WANTED_BYTES, send_bytes: usize::MAX };
        assert_eq!(enough.hint(), None);
    }
}
