//! What programs hold of the host's files, which no other host has.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::Kernel;
use crate::fs::Dentry;
use crate::mounts::HOST_FILES;

impl Kernel {
    /// Paths of the host's files that programs hold, in order; of a directory of which something is held that has no
    /// descriptor (a mapping, what is mounted in it), its own.
    pub(super) fn held_host_files(&self) -> Vec<String> {
        let mounts = self.shared.mounts.borrow();
        let mut held = BTreeSet::new();
        for root in mounts.iter().filter(|root| root.mount().fstype == HOST_FILES) {
            // Each file in use knows its mount. The root itself is held by the table and by the place where it is mounted.
            if Rc::strong_count(root.mount()) == 1 && Rc::strong_count(root) <= 2 {
                continue;
            }
            let names = self.files_in(root);
            if names.is_empty() {
                held.insert(shown(root));
            }
            held.extend(names);
        }
        held.into_iter().collect()
    }

    /// Open files and directories in a mount.
    fn files_in(&self, root: &Rc<Dentry>) -> Vec<String> {
        let mut found = Vec::new();
        let mut look = |dentry: &Rc<Dentry>| {
            if Rc::ptr_eq(dentry.mount(), root.mount()) {
                found.push(shown(dentry));
            }
        };
        for thread in self.tasks.threads() {
            let place = thread.fs.borrow();
            look(&place.cwd);
            look(&place.root);
            let files = thread.files.borrow();
            for file in files.fds().into_iter().filter_map(|fd| files.get(fd).ok()) {
                look(file.dentry());
            }
        }
        found
    }
}

fn shown(dentry: &Rc<Dentry>) -> String {
    String::from_utf8_lossy(&dentry.path()).into_owned()
}
