//! `/proc/PID/mounts`, `mountinfo` and `mountstats` (proc(5)).

use std::rc::Rc;

use abi::stat::{ST_NODEV, ST_NOEXEC, ST_NOSUID, ST_RDONLY, ST_RELATIME, major, minor};

use crate::fs::{Dentry, Shared};

/// The mount table as seen from `root`, in the form of the file `name`.
pub fn text(shared: &Shared, root: &Rc<Dentry>, name: &str) -> Vec<u8> {
    let mut out = String::new();
    for mounted in shared.mounts.borrow().iter() {
        let (path, reached) = mounted.path_from(root);
        if !reached {
            continue;
        }
        let at = escape(&path);
        let mount = mounted.mount();
        let flags = flags(mount.flags.get());
        let extra = match mount.options.as_str() {
            "" => String::new(),
            options => format!(",{options}"),
        };
        let access = if mount.flags.get() & ST_RDONLY != 0 { "ro" } else { "rw" };
        let line = match name {
            "mountinfo" => format!(
                "{} {} {}:{} {} {at} {flags} - {} {} {access}{extra}\n",
                mount.id,
                mount.parent,
                major(mount.dev),
                minor(mount.dev),
                mount.root,
                mount.fstype,
                mount.source,
            ),
            "mountstats" => {
                format!("device {} mounted on {at} with fstype {}\n", mount.source, mount.fstype)
            }
            _ => format!("{} {at} {} {flags}{extra} 0 0\n", mount.source, mount.fstype),
        };
        out.push_str(&line);
    }
    out.into_bytes()
}

fn flags(bits: u64) -> String {
    let names = [
        (ST_NOSUID, "nosuid"),
        (ST_NODEV, "nodev"),
        (ST_NOEXEC, "noexec"),
        (ST_RELATIME, "relatime"),
    ];
    let mut text = String::from(if bits & ST_RDONLY != 0 { "ro" } else { "rw" });
    for (bit, name) in names {
        if bits & bit != 0 {
            text.push(',');
            text.push_str(name);
        }
    }
    text
}

/// Space, tab, newline and backslash in octal, as getmntent(3) reads them.
fn escape(path: &[u8]) -> String {
    let mut out = String::new();
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out.push_str(&format!("\\{byte:03o}")),
            byte => out.push(char::from(byte)),
        }
    }
    out
}
