//! The root filesystem image on its way into the box.

use crate::LinkError;
use crate::section::{Counted, put};
use std::io::Read;
use translate::{PAGE_SIZE, Pages};

/// The image: its front as the guest left it, and the rest as it comes.
pub struct Image<'a> {
    /// Where it lies in memory.
    pub address: usize,
    /// Bytes of all of it.
    pub len: usize,
    /// As the guest left it.
    pub front: &'a [u8],
    /// What follows.
    pub rest: &'a mut dyn Read,
    /// What the code was made from that is added: it must be in the image.
    pub pages: &'a Pages,
}

impl Image<'_> {
    /// Writes all of it, once.
    ///
    /// # Errors
    /// The rest is shorter, [`Self::pages`] are not in it, or `out` takes no more.
    pub fn write(&mut self, out: &mut Counted<'_>) -> Result<(), LinkError> {
        put(out, self.front)?;
        self.compare(0, self.front)?;
        let mut place = self.front.len();
        let mut left = self.len.saturating_sub(self.front.len());
        let mut buffer = vec![0; COPY_BUFFER];
        while left > 0 {
            let most = buffer.len().min(left);
            let chunk = buffer.get_mut(..most).unwrap_or_default();
            self.rest.read_exact(chunk).map_err(|source| LinkError::Io {
                what: "read the root filesystem image",
                source,
            })?;
            put(out, chunk)?;
            self.compare(place, chunk)?;
            (left, place) = (left - most, place + most);
        }
        Ok(())
    }

    /// Compares bytes of the image with [`Self::pages`]; a piece of it ends where a page does.
    fn compare(&self, place: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let start = place as u32;
        for (page, expected) in self.pages.range(start..start.saturating_add(bytes.len() as u32)) {
            let at = (page - start) as usize;
            let real = bytes.get(at..bytes.len().min(at + PAGE_SIZE)).unwrap_or_default();
            let (same, beyond) = expected.split_at(real.len());
            if real != same || beyond.iter().any(|byte| *byte != 0) {
                return Err(LinkError::OtherImage);
            }
        }
        Ok(())
    }
}

const COPY_BUFFER: usize = 256 << 10;
