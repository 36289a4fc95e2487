//! A tree to an EROFS image.

use std::collections::HashMap;
use std::io::{self, Write};

use rootfs::{FileType, Summary, Writer};

use crate::{Content, NodeId, Result, Tree};

impl Tree {
    /// Writes the tree as an EROFS image, contents streamed in the order in which they lie in the tree's layers, which may be compressed.
    /// Equal trees of equal layers give equal bytes.
    pub fn write_rootfs(&self, out: impl Write) -> Result<Summary> {
        let (writer, contents) = self.rootfs()?;
        let open = |id| contents.get(&id).map(|c| c.reader()).ok_or(io::ErrorKind::NotFound.into());
        Ok(writer.write(out, open)?)
    }

    /// What [`Tree::write_rootfs`] would write; no content is read.
    pub fn measure_rootfs(&self) -> Result<Summary> {
        Ok(self.rootfs()?.0.measure()?)
    }

    fn rootfs(&self) -> Result<(Writer, HashMap<rootfs::NodeId, &Content>)> {
        let mut writer = Writer::new(self.node(self.root()).meta.clone());
        let mut contents: HashMap<rootfs::NodeId, &Content> = HashMap::new();
        let mut linked: HashMap<NodeId, rootfs::NodeId> = HashMap::new();
        let mut pending = vec![(self.root(), writer.root())];
        while let Some((dir, into)) = pending.pop() {
            for (name, id) in self.entries(dir) {
                if let Some(first) = linked.get(&id) {
                    writer.link(into, name, *first)?;
                    continue;
                }
                let node = self.node(id);
                let meta = node.meta.clone();
                let made = match node.kind() {
                    FileType::Directory => writer.dir(into, name, meta)?,
                    FileType::Regular => {
                        let content = node.content().unwrap_or(const { &Content::EMPTY });
                        let made =
                            writer.placed_file(into, name, meta, content.len(), content.place())?;
                        contents.insert(made, content);
                        made
                    }
                    FileType::Symlink => {
                        writer.symlink(into, name, meta, node.target().unwrap_or_default())?
                    }
                    kind => writer.special(into, name, meta, kind, node.rdev())?,
                };
                if node.is_dir() {
                    pending.push((id, made));
                } else if node.links() > 1 {
                    linked.insert(id, made);
                }
            }
        }
        Ok((writer, contents))
    }
}
