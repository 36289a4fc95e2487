//! `/proc/sysvipc` (proc(5)).

use std::fmt::Write;

use mem::PAGE_SIZE;

use super::Object;
use crate::Kernel;

impl Kernel {
    /// `/proc/sysvipc/shm`.
    pub(crate) fn proc_shm(&mut self) -> String {
        self.ipc.shm.sweep();
        let mut out = String::from(
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
        );
        for segment in self.ipc.shm.iter() {
            let (p, s) = (segment.perm(), segment.show());
            let _ = writeln!(
                out,
                "{:>10} {:>10}  {:>4o} {:>21} {:>5} {:>5}  {:>5} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10} {:>21} {:>21}",
                p.key,
                p.id,
                p.mode,
                s.segsz,
                s.cpid,
                s.lpid,
                s.nattch,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid,
                s.atime,
                s.dtime,
                s.ctime,
                segment.resident() * PAGE_SIZE as u64,
                0
            );
        }
        out
    }

    /// `/proc/sysvipc/sem`.
    pub(crate) fn proc_sem(&self) -> String {
        let mut out = String::from(
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
        );
        for set in self.ipc.sem.ids.iter() {
            let (p, s) = (set.perm(), set.show());
            let _ = writeln!(
                out,
                "{:>10} {:>10}  {:>4o} {:>10} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10}",
                p.key, p.id, p.mode, s.nsems, p.uid, p.gid, p.cuid, p.cgid, s.otime, s.ctime
            );
        }
        out
    }

    /// `/proc/sysvipc/msg`.
    pub(crate) fn proc_msg(&self) -> String {
        let mut out = String::from(
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
        );
        for queue in self.ipc.msg.iter() {
            let (p, s) = (queue.perm(), queue.show());
            let _ = writeln!(
                out,
                "{:>10} {:>10}  {:>4o}  {:>10} {:>10} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10}",
                p.key,
                p.id,
                p.mode,
                s.cbytes,
                s.qnum,
                s.lspid,
                s.lrpid,
                p.uid,
                p.gid,
                p.cuid,
                p.cgid,
                s.stime,
                s.rtime,
                s.ctime
            );
        }
        out
    }
}
