//! Keys for masks.

use super::frame::Key;
use std::io;

/// Random keys, one for each frame of a client. They come from a generator that nobody can foresee (RFC 6455 section 5.3),
/// many at a time.
pub(super) struct Keys {
    fill: Box<Fill>,
    drawn: [u8; Self::DRAWN],
    used: usize,
}

/// Fills a slice with random octets.
type Fill = dyn FnMut(&mut [u8]) -> io::Result<()> + Send;

impl Keys {
    const DRAWN: usize = 1024;

    pub(super) fn new(fill: impl FnMut(&mut [u8]) -> io::Result<()> + Send + 'static) -> Self {
        Self { fill: Box::new(fill), drawn: [0; Self::DRAWN], used: Self::DRAWN }
    }

    /// Those of the operating system.
    #[expect(clippy::disallowed_methods, reason = "beside a driver, and the caller may give other ones")]
    pub(super) fn of_the_system() -> Self {
        Self::new(|octets| getrandom::fill(octets).map_err(io::Error::from))
    }

    pub(super) fn next(&mut self) -> io::Result<Key> {
        if self.used >= Self::DRAWN {
            (self.fill)(&mut self.drawn)?;
            self.used = 0;
        }
        let key = self.drawn.get(self.used..).and_then(|rest| rest.first_chunk());
        self.used += 4;
        Ok(Key(key.copied().unwrap_or_default()))
    }
}
