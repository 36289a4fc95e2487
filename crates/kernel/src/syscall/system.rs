//! The system as a whole: uname(2), sysinfo(2), getrandom(2), host name.

use abi::Errno;
use abi::sched::{Sysinfo, Utsname};

use super::Args;
use crate::task::creds::CAP_SYS_ADMIN;
use crate::{Kernel, SysResult, ThreadId};

/// The kernel release that programs see: new enough for every libc in use, with what is missing refusing by errno.
pub const RELEASE: &str = "6.1.0-boxer";
/// `/proc/version`'s build.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Boxer";

fn field(text: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    let n = text.len().min(64);
    out[..n].copy_from_slice(&text[..n]);
    out
}

/// uname(2)
pub fn uname(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let names = Utsname {
        sysname: field(b"Linux"),
        nodename: field(&k.hostname),
        release: field(RELEASE.as_bytes()),
        version: field(VERSION.as_bytes()),
        machine: field(b"x86_64"),
        domainname: field(&k.domainname),
    };
    k.mm.write_pod(a.u64(0), &names)?;
    Ok(0)
}

fn set_name(k: &mut Kernel, tid: ThreadId, a: Args) -> Result<Vec<u8>, Errno> {
    if !k.tasks[tid].creds.capable(CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(a.i32(1)).ok().filter(|&n| n <= 64).ok_or(Errno::EINVAL)?;
    k.mm.read_vec(a.u64(0), len)
}

/// sethostname(2)
pub fn sethostname(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.hostname = set_name(k, tid, a)?;
    Ok(0)
}

/// setdomainname(2)
pub fn setdomainname(k: &mut Kernel, tid: ThreadId, a: Args) -> SysResult {
    k.domainname = set_name(k, tid, a)?;
    Ok(0)
}

/// sysinfo(2)
pub fn sysinfo(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    let (free, total) = k.memory();
    let info = Sysinfo {
        uptime: (k.now().saturating_sub(k.boot_ns) / 1_000_000_000) as i64,
        totalram: total,
        freeram: free,
        procs: k.tasks.threads().count().min(65535) as u16,
        mem_unit: 1,
        ..Sysinfo::default()
    };
    let mut bytes = [0; 112];
    abi::Pod::to_bytes(&info, &mut bytes);
    k.mm.write_user(a.u64(0), &bytes)?;
    Ok(0)
}

/// getrandom(2)
pub fn getrandom(k: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    /// GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE
    const FLAGS: u32 = 7;
    if a.u32(2) & !FLAGS != 0 || a.u32(2) & 6 == 6 {
        return Err(Errno::EINVAL.into());
    }
    // Large requests come back short, as Linux may do after a signal.
    let len = a.usize(1).min(1 << 20);
    let mut done = 0;
    let mut buf = [0; 256];
    while done < len {
        let n = (len - done).min(buf.len());
        k.host.random(&mut buf[..n]);
        let stored = k.mm.write_user_partial(a.u64(0).wrapping_add(done as u64), &buf[..n]);
        done += stored;
        if stored < n {
            break;
        }
    }
    if done == 0 && len > 0 { Err(Errno::EFAULT.into()) } else { Ok(done as u64) }
}

/// syslog(2): an empty log
pub fn syslog(_: &mut Kernel, _: ThreadId, a: Args) -> SysResult {
    match a.i32(0) {
        9 | 10 => Ok(0),
        _ => Err(Errno::EPERM.into()),
    }
}

/// vhangup, reboot, swapon and other calls of a system's administrator: not in a container
pub fn not_permitted(_: &mut Kernel, _: ThreadId, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}
