//! Regions that came with the box ([`mem::frozen`]): each becomes known when its code is reached, so that starting takes no
//! longer the more there are.

use crate::key::Key;
use crate::translated::Translated;

impl Translated {
    /// The number of the region that is entered at the block `key`, of those that were compiled.
    pub fn known(&mut self, key: &Key) -> Option<u32> {
        self.installed(key).or_else(|| self.thawed(key))
    }

    fn thawed(&mut self, key: &Key) -> Option<u32> {
        // The host was asked for one, and that is what counts; where the guest may write, a block is another one.
        if key.writable || self.is_root(key) {
            return None;
        }
        let frozen = self.frozen?;
        let entry = frozen.find(key.phys, key.pc).filter(|entry| entry.next == key.next)?;
        let pages = frozen.pages(entry.region);
        if pages.is_empty() {
            return None;
        }
        self.add_frozen(*key, pages, entry.slot)
    }
}
