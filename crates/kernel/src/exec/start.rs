//! The first process of the box.

use std::cell::RefCell;
use std::rc::Rc;

use abi::fcntl::AT_FDCWD;
use abi::{Context, Errno, Rlimit};
use rootfs::rights::Rights;

use crate::etc::{self, Naming, Reach};
use crate::exec::init;
use crate::fs::ops::find_executable;
use crate::fs::walk::{Lookup, resolve};
use crate::fs::{Cred, Cx, PathCx};
use crate::mm::Limits;
use crate::mounts;
use crate::syscall::prctl::{MCE_KILL_DEFAULT, TIMER_SLACK};
use crate::task::{Creds, INIT, Process, Run, Thread};
use crate::{Kernel, ProcessId, ThreadId};

/// What the box shall run.
#[derive(Clone, Debug, Default)]
pub struct StartSpec {
    /// Program and arguments; the program is looked up in PATH if it has no slash.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` entries.
    pub env: Vec<Vec<u8>>,
    /// Working directory; made if it is missing; empty = `/`.
    pub cwd: Vec<u8>,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty = root.
    pub user: String,
    /// Host name; empty = twelve hexadecimal digits by entropy.
    pub hostname: Vec<u8>,
    /// It does not stand in the environment (RUN steps of BuildKit have no HOSTNAME).
    pub quiet_hostname: bool,
    /// Hosts and name servers.
    pub naming: Naming,
    /// Standard streams are a terminal (`docker run -t`).
    pub tty: bool,
    /// A first process of its own runs the program (`docker run --init`).
    pub init: bool,
    /// That process alone runs, and no program (`argv` is empty).
    pub pause: bool,
    /// Capabilities, further groups, limits, whether the image's files can be changed.
    pub rights: Rights,
    /// The program runs beside the kernel and not on its processor: its process is made, and executes nothing.
    pub beside: bool,
}

/// Why the first program did not start. [`StartError::status`] is the box's exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Nothing to run.
    NoCommand,
    /// No such program.
    NotFound(String),
    /// The program is there, but not what runs it: the interpreter of its `#!` line, or its dynamic linker.
    NoInterpreter(String),
    /// It cannot be executed.
    NotExecutable(String, Errno),
    /// What the host gives cannot be mounted there.
    Mount(String, Errno),
    /// The user or group is unknown.
    User(String),
    /// A further group is unknown.
    Group(String),
    /// The working directory cannot be entered.
    Cwd(String, Errno),
    /// Standard streams could not be set up.
    Streams(Errno),
    /// A further process: there are too many, or no memory.
    Limit(Errno),
    /// A further process: the first has ended, or has not begun.
    Over,
}

impl StartError {
    /// Exit status, as docker has it.
    pub fn status(&self) -> i32 {
        match self {
            StartError::NotFound(_) | StartError::NoInterpreter(_) => 127,
            StartError::NotExecutable(..) | StartError::Cwd(..) => 126,
            _ => 125,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::NoCommand => f.write_str("no command to run"),
            StartError::NotFound(name) => {
                write!(f, "exec: {name:?}: executable file not found in $PATH or the file system")
            }
            StartError::NoInterpreter(name) => write!(
                f,
                "exec: {name:?}: the program is there, but its interpreter is not (the one its #! line names, or its \
                 dynamic linker, such as /lib64/ld-linux-x86-64.so.2)"
            ),
            StartError::NotExecutable(name, errno) => write!(f, "exec: {name:?}: {}", errno.text()),
            StartError::Mount(path, Errno::ENOTDIR) => write!(
                f,
                "cannot mount at {path:?}: not a directory: are you trying to mount a directory onto a file, or a file \
                 onto a directory?"
            ),
            StartError::Mount(path, errno) => {
                write!(f, "cannot mount at {path:?}: {}", errno.text())
            }
            StartError::User(user) => write!(f, "unable to find user {user}: no matching entries"),
            StartError::Group(name) => {
                write!(f, "unable to find group {name}: no matching entries")
            }
            StartError::Cwd(dir, errno) => write!(f, "cannot enter {dir:?}: {}", errno.text()),
            StartError::Streams(errno) => write!(f, "cannot open standard streams: {errno}"),
            StartError::Limit(errno) => write!(f, "cannot start a process: {}", errno.text()),
            StartError::Over => f.write_str("the first program of the box does not run"),
        }
    }
}

impl std::error::Error for StartError {}

/// PATH where the environment has none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest /etc/passwd or /etc/group that is read.
const ACCOUNTS_MAX: usize = 4 << 20;

impl Kernel {
    /// Starts the first process.
    pub fn start(&mut self, spec: StartSpec) -> Result<ThreadId, StartError> {
        let program = match spec.argv.first() {
            Some(program) => program.clone(),
            None if spec.pause => init::PATH.to_vec(),
            None => return Err(StartError::NoCommand),
        };
        self.boot_ns = self.now();
        self.slice_start = self.host.clock_cpu();
        self.start_clock();
        self.name_host(&spec.hostname);
        let tid = self.bare_process(INIT);
        let result = self.start_program(tid, &program, spec);
        if result.is_err() {
            self.forget_bare(tid);
        }
        result.map(|()| tid)
    }

    /// Leaves nothing of a process that never was ([`Kernel::bare_process`]).
    pub(crate) fn forget_bare(&mut self, tid: ThreadId) {
        if let Some(thread) = self.tasks.remove_thread(tid) {
            self.mm.drop_space(thread.space);
        }
        self.tasks.remove_process(ProcessId(tid.0));
    }

    /// Sets a process's limits to what the box was given.
    pub(crate) fn set_ulimits(&mut self, pid: ProcessId, rights: &Rights) {
        let limits = &mut self.tasks[pid].limits.0;
        for limit in &rights.ulimits {
            if let Some(place) = limits.get_mut(limit.resource) {
                *place = Rlimit { cur: limit.soft, max: limit.hard };
            }
        }
    }

    /// The first program's environment.
    pub fn first_environment(&self) -> &[Vec<u8>] {
        &self.first_env
    }

    /// Sets the host name; an empty one is made up.
    pub(crate) fn name_host(&mut self, name: &[u8]) {
        self.hostname = name.to_vec();
        if name.is_empty() {
            let mut bytes = [0; 6];
            self.host.random(&mut bytes);
            self.hostname =
                bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes();
        }
    }

    /// A process without a parent, with an empty address space, as root at `/`; the current one.
    pub(crate) fn bare_process(&mut self, pid: ProcessId) -> ThreadId {
        let tid = ThreadId(pid.0);
        let mut process = Process::new(pid, ProcessId(0), self.now());
        process.threads.insert(tid);
        self.tasks.add_process(process);
        let space = self.mm.new_space(Limits::default());
        let at = PathCx { root: self.root.clone(), cwd: self.root.clone(), umask: 0o022 };
        let files = crate::file::FdTable::new(&self.shared);
        self.tasks.add_thread(Thread {
            tid,
            pid,
            ctx: Context::default(),
            space,
            files: Rc::new(RefCell::new(files)),
            fs: Rc::new(RefCell::new(at)),
            handlers: Rc::default(),
            creds: Creds::new(0, 0, Vec::new()),
            comm: Vec::new(),
            run: Run::Ready,
            syscall: None,
            restart: Default::default(),
            blocked: Default::default(),
            saved_mask: None,
            pending: Default::default(),
            yielded: false,
            forced: false,
            look_at_signals: false,
            altstack: Default::default(),
            clear_tid: 0,
            robust_list: (0, 0),
            vfork_done: true,
            cpu_ns: 0,
            vruntime: self.tasks.vruntime,
            sys_ns: 0,
            fault: (0, 0, 0),
            death_signal: 0,
            timer_slack: TIMER_SLACK,
            personality: 0,
            trace: None,
            traced: 0,
            nice: 0,
            policy: (0, false),
            ioprio: 0,
            mempolicy: Default::default(),
            rseq: None,
            ptrace: None,
            orig_rax: u64::MAX,
            leaving: false,
            asked: false,
            broken_off: false,
            restart_block: None,
            injected: None,
            dispatch: None,
            broken_memory: MCE_KILL_DEFAULT,
            flushes: false,
            exit_status: 0,
            seccomp: Default::default(),
            undo: None,
        });
        self.current = tid;
        self.mm.activate(space);
        tid
    }

    fn start_program(
        &mut self,
        tid: ThreadId,
        program: &[u8],
        spec: StartSpec,
    ) -> Result<(), StartError> {
        let root = self.root.clone();
        let mut cx = self.cx(tid);
        mounts::mount_given(&mut cx, &root)
            .map_err(|(path, errno)| StartError::Mount(shown(&path), errno))?;
        if let Err(errno) = self.lay_etc(&spec.naming, spec.rights.read_only) {
            self.host.log(&format!("boxer: cannot lay files over /etc: {errno}"));
        }
        if spec.tty {
            let mut cx = self.cx(tid);
            mounts::add_console(&mut cx, &root).map_err(StartError::Streams)?;
        }
        self.make_cwd(tid, &spec.cwd)?;
        self.enter_cwd(tid, &spec.cwd)?;
        let (creds, home) = self.find_user(&spec.user, &spec.rights)?;
        self.set_ulimits(INIT, &spec.rights);
        let files = self.standard_files(tid, spec.tty).map_err(StartError::Streams)?;
        self.tasks[tid].files = Rc::new(RefCell::new(files));
        self.tasks[tid].creds = creds;
        let mut env = spec.env.clone();
        if !has(&env, "PATH=") {
            env.insert(0, format!("PATH={DEFAULT_PATH}").into_bytes());
        }
        if !spec.quiet_hostname && !has(&env, "HOSTNAME=") {
            env.push([b"HOSTNAME=", self.hostname.as_slice()].concat());
        }
        // What further processes start with.
        self.given = StartSpec { env: env.clone(), argv: Vec::new(), ..spec.clone() };
        personal(&mut env, spec.tty, &home);
        if spec.beside && !has(&env, "PWD=") {
            // Nothing else tells such a program where it is.
            env.push([b"PWD=", spec.cwd.as_slice()].concat());
        }
        self.first_env.clone_from(&env);
        if spec.beside {
            if spec.rights.read_only {
                mounts::protect(&root);
            }
            return Ok(());
        }
        if spec.pause {
            init::lay(&mut self.cx(tid), &root)
                .map_err(|errno| StartError::NotExecutable(shown(init::PATH), errno))?;
            if spec.rights.read_only {
                mounts::protect(&root);
            }
            let result = self.exec_with(tid, AT_FDCWD, init::PATH.to_vec(), init::alone(), env, 0);
            return result.map_err(|e| StartError::NotExecutable(shown(program), e.errno()));
        }
        let path = self.find_in_path(tid, program, &env)?;
        let (mut first, mut argv) = (path.clone(), spec.argv);
        if spec.init {
            // It could not say it as well.
            let at = self.tasks[tid].fs.borrow().clone();
            let found = find_executable(&mut self.cx(tid), &at, &at.cwd, &path, true);
            found.map_err(|errno| match errno {
                Errno::ENOENT | Errno::ENOTDIR => StartError::NotFound(shown(program)),
                errno => StartError::NotExecutable(shown(program), errno),
            })?;
            init::lay(&mut self.cx(tid), &root)
                .map_err(|errno| StartError::NotExecutable(shown(init::PATH), errno))?;
            (first, argv) = (init::PATH.to_vec(), init::arguments(path.clone(), argv));
        }
        if spec.rights.read_only {
            mounts::protect(&root);
        }
        let result = self.exec_with(tid, AT_FDCWD, first, argv, env, 0);
        result.map_err(|e| self.exec_error(tid, program, &path, e.errno()))
    }

    /// Why `program`, found at `path`, is not executed.
    pub(crate) fn exec_error(
        &mut self,
        tid: ThreadId,
        program: &[u8],
        path: &[u8],
        errno: Errno,
    ) -> StartError {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if self.is_executable(tid, path) => {
                StartError::NoInterpreter(shown(program))
            }
            Errno::ENOENT | Errno::ENOTDIR => StartError::NotFound(shown(program)),
            errno => StartError::NotExecutable(shown(program), errno),
        }
    }

    /// `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` over the image's.
    pub(crate) fn lay_etc(&mut self, naming: &Naming, read_only: bool) -> Result<(), Errno> {
        let root = self.root.clone();
        let hostname = String::from_utf8_lossy(&self.hostname).into_owned();
        let families = self.host.network().map(|outside| outside.families());
        let reach = families.map(|(v4, v6)| Reach {
            own: net::interface::ETH0_V4.into(),
            gateway: net::interface::GATEWAY_V4.into(),
            resolves: v4 || v6,
        });
        let mut cx = Cx::new(self, Cred::root());
        etc::lay(&mut cx, &root, naming, &hostname, reach, read_only)
    }

    fn is_executable(&mut self, tid: ThreadId, path: &[u8]) -> bool {
        let at = self.tasks[tid].fs.borrow().clone();
        let mut cx = self.cx(tid);
        find_executable(&mut cx, &at, &at.cwd, path, true).is_ok()
    }

    /// Looks a name without slash up in PATH, as docker's runtime does.
    pub(crate) fn find_in_path(
        &mut self,
        tid: ThreadId,
        program: &[u8],
        env: &[Vec<u8>],
    ) -> Result<Vec<u8>, StartError> {
        if program.contains(&b'/') {
            return Ok(program.to_vec());
        }
        let path = env.iter().find_map(|e| e.strip_prefix(b"PATH="));
        let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
        let at = self.tasks[tid].fs.borrow().clone();
        let mut denied = None;
        for dir in path.split(|&b| b == b':') {
            let mut name = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
            if name.last() != Some(&b'/') {
                name.push(b'/');
            }
            name.extend_from_slice(program);
            let mut cx = self.cx(tid);
            match find_executable(&mut cx, &at, &at.cwd, &name, true) {
                Ok(_) => return Ok(name),
                Err(errno @ (Errno::EACCES | Errno::ELOOP)) => denied = Some(errno),
                Err(_) => {}
            }
        }
        Err(match denied {
            Some(errno) => StartError::NotExecutable(shown(program), errno),
            None => StartError::NotFound(shown(program)),
        })
    }

    /// Makes the working directory, if need be.
    fn make_cwd(&mut self, tid: ThreadId, cwd: &[u8]) -> Result<(), StartError> {
        let fail = |errno| StartError::Cwd(shown(cwd), errno);
        let at = self.tasks[tid].fs.borrow().clone();
        let mut cx = self.cx(tid);
        let mut so_far = b"/".to_vec();
        for part in cwd.split(|&b| b == b'/').filter(|p| !p.is_empty()) {
            so_far.extend_from_slice(part);
            match crate::fs::ops::mkdir(&mut cx, &at, &at.root, &so_far, 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(fail(errno)),
            }
            so_far.push(b'/');
        }
        Ok(())
    }

    /// Enters the working directory.
    pub(crate) fn enter_cwd(&mut self, tid: ThreadId, cwd: &[u8]) -> Result<(), StartError> {
        let fail = |errno| StartError::Cwd(shown(cwd), errno);
        let at = self.tasks[tid].fs.borrow().clone();
        let mut cx = self.cx(tid);
        let path = [b"/", cwd].concat();
        let dir = resolve(&mut cx, &at, &at.root, &path, Lookup::FOLLOW).map_err(fail)?;
        if dir.inode().kind() != crate::fs::Kind::Dir {
            return Err(fail(Errno::ENOTDIR));
        }
        self.tasks[tid].fs.borrow_mut().cwd = dir;
        Ok(())
    }

    /// A small text file, or nothing.
    fn read_accounts(&mut self, path: &str) -> String {
        let root = self.root.clone();
        let mut cx = Cx::new(self, Cred::root());
        let at = mounts::at_root(&root);
        let Ok(dentry) = resolve(&mut cx, &at, &root, path.as_bytes(), Lookup::FOLLOW) else {
            return String::new();
        };
        let mut text = Vec::new();
        let mut buf = [0; 4096];
        while text.len() < ACCOUNTS_MAX {
            match dentry.inode().read_at(&mut cx, text.len() as u64, &mut buf) {
                Ok(n) if n > 0 => text.extend_from_slice(&buf[..n]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ids and home directory for docker's `USER`.
    pub(crate) fn find_user(
        &mut self,
        user: &str,
        rights: &Rights,
    ) -> Result<(Creds, String), StartError> {
        let passwd = self.read_accounts("/etc/passwd");
        let group = self.read_accounts("/etc/group");
        let (mut creds, home) =
            accounts(&passwd, &group, user).ok_or_else(|| StartError::User(user.into()))?;
        let mut groups = creds.groups.to_vec();
        for name in &rights.groups {
            let id = group_id(&group, name);
            groups.push(id.ok_or_else(|| StartError::Group(name.clone()))?);
        }
        groups.sort_unstable();
        groups.dedup();
        creds.groups = groups.into();
        if let Some(set) = rights.capabilities {
            creds.bound(set);
        }
        creds.no_new_privs = rights.no_new_privileges;
        Ok((creds, home))
    }
}

/// Whether the environment has a variable; `name` ends with `=`.
pub(crate) fn has(env: &[Vec<u8>], name: &str) -> bool {
    env.iter().any(|entry| entry.starts_with(name.as_bytes()))
}

/// Adds what depends on a process's terminal and user.
pub(crate) fn personal(env: &mut Vec<Vec<u8>>, tty: bool, home: &str) {
    if tty && !has(env, "TERM=") {
        env.push(b"TERM=xterm".to_vec());
    }
    if !has(env, "HOME=") {
        env.push(format!("HOME={home}").into_bytes());
    }
}

/// A name for messages.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The number of a group, by the text of group(5).
fn group_id(group: &str, want: &str) -> Option<u32> {
    let mut groups = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    match groups.find(|f| f.len() >= 3 && (f[0] == want || f[2] == want)) {
        Some(f) => f[2].parse().ok(),
        None if want == "root" => Some(0),
        None => want.parse().ok(),
    }
}

/// Resolves `user[:group]` with the texts of passwd(5) and group(5).
fn accounts(passwd: &str, group: &str, spec: &str) -> Option<(Creds, String)> {
    let (user, group_name) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 6 && (f[0] == user || f[2] == user));
    let (uid, mut gid, home, name) = match &entry {
        Some(f) => (f[2].parse().ok()?, f[3].parse().ok()?, f[5].to_string(), f[0]),
        // An image may know nobody; root is still root.
        None if user == "root" => (0, 0, "/".to_string(), user),
        None => (user.parse().ok()?, 0, "/".to_string(), user),
    };
    let mut extra = Vec::new();
    match group_name {
        Some(want) => {
            gid = group_id(group, want)?;
            extra.push(gid);
        }
        None => {
            let groups = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
            for f in groups.filter(|f| f.len() >= 4) {
                if f[3].split(',').any(|member| member == name)
                    && let Ok(id) = f[2].parse::<u32>()
                {
                    extra.push(id);
                }
            }
            // As docker: the primary group is listed, too.
            if !extra.contains(&gid) {
                extra.insert(0, gid);
            }
        }
    }
    extra.sort_unstable();
    Some((Creds::new(uid, gid, extra), home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/false\n";
        let group = "root:x:0:\nweb:x:34:\nadm:x:4:www,other\n";
        let ids = |spec: &str| {
            accounts(passwd, group, spec)
                .map(|(c, home)| (c.uid.real, c.gid.real, c.groups.to_vec(), home))
        };
        assert_eq!(ids(""), Some((0, 0, vec![0], "/root".into())));
        assert_eq!(ids("www"), Some((33, 34, vec![4, 34], "/var/www".into())));
        assert_eq!(ids("33:adm"), Some((33, 4, vec![4], "/var/www".into())));
        assert_eq!(ids("1000"), Some((1000, 0, vec![0], "/".into())));
        assert_eq!(ids("1000:1000"), Some((1000, 1000, vec![1000], "/".into())));
        assert_eq!(ids("nobody"), None);
        assert_eq!(
            accounts("", "", "root:root").map(|(c, _)| (c.uid.real, c.groups.to_vec())),
            Some((0, vec![0]))
        );
        assert_eq!(ids("www:nogroup"), None);
    }
}
