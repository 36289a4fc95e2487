//! Terminals: pseudo-terminals (tty(4), pty(7), pts(4)), the first of which may have the host's stdio as its other side.

pub mod devpts;
pub mod discipline;
pub mod termios;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use abi::fcntl::O_NOCTTY;
use abi::poll::{POLLHUP, POLLPRI, READABLE, WRITABLE};
use abi::signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH};
use abi::stat::makedev;
use abi::tty::*;

use self::discipline::Discipline;
use super::{FileOps, OpenFile};
use crate::fs::cx::Notifier;
use crate::fs::{Cx, Dentry, Res};
use crate::wait::WaitKey;

/// Most pseudo-terminals (`kernel.pty.max`).
const MAX_PTYS: u32 = 4096;
/// Output that a terminal holds for its master before writers wait.
const MAX_OUTPUT: usize = 65536;

/// All terminals.
#[derive(Default)]
pub struct Terminals {
    all: RefCell<BTreeMap<u32, Weak<Tty>>>,
    /// The terminal of the box, whose other side the host has: `/dev/pts/0`, as docker's.
    console: RefCell<Option<Rc<Tty>>>,
    /// Where `/dev/pts` is, once mounted.
    at: RefCell<Option<Rc<Dentry>>>,
}

impl Terminals {
    /// The indices of the pseudo-terminals in use.
    pub fn ptys(&self) -> Vec<u32> {
        let all = self.all.borrow();
        all.iter().filter(|(_, t)| t.strong_count() > 0).map(|(i, _)| *i).collect()
    }

    /// The least index that none in use has; ENOSPC if there are too many.
    fn free_index(&self) -> Res<u32> {
        let mut all = self.all.borrow_mut();
        all.retain(|_, tty| tty.strong_count() > 0);
        (0..MAX_PTYS).find(|i| !all.contains_key(i)).ok_or(Errno::ENOSPC)
    }

    /// The terminal with this index.
    pub fn get(&self, index: u32) -> Option<Rc<Tty>> {
        self.all.borrow().get(&index).and_then(Weak::upgrade)
    }

    /// The terminal that the host has the other side of.
    pub fn console(&self) -> Option<Rc<Tty>> {
        self.console.borrow().clone()
    }

    /// Says where `/dev/pts` is.
    pub fn mounted(&self, dentry: &Rc<Dentry>) {
        *self.at.borrow_mut() = Some(dentry.clone());
    }
}

/// The dentry of terminal `index` in `/dev/pts`, whatever lies over that; ENXIO before it is mounted.
pub fn dentry(cx: &mut Cx, index: u32) -> Res<Rc<Dentry>> {
    let at = cx.shared.registry::<Terminals>().at.borrow().clone();
    at.ok_or(Errno::ENXIO)?.lookup(cx, index.to_string().as_bytes())
}

/// The device number of terminal `index`.
pub fn device_number(index: u32) -> u64 {
    makedev(136, index)
}

/// One terminal.
pub struct Tty {
    /// Its index; the `N` of `/dev/pts/N`.
    pub index: u32,
    line: RefCell<Discipline>,
    window: Cell<[u16; 4]>,
    /// Foreground process group; 0 = none.
    foreground: Cell<u32>,
    /// Session it controls; 0 = none.
    session: Cell<u32>,
    locked: Cell<bool>,
    /// The other side is the host's stdio, not a master.
    is_console: bool,
    /// Open slaves, and whether there was ever one.
    slaves: Cell<u32>,
    was_open: Cell<bool>,
    hung_up: Cell<bool>,
    /// Opened by nobody else but who may anything (TIOCEXCL).
    exclusive: Cell<bool>,
    /// Reads of the master begin with a byte that says what happened (TIOCPKT), and what did since the last one.
    packet: Cell<bool>,
    status: Cell<u8>,
    /// Owner of the slave's node.
    pub owner: Cell<(u32, u32)>,
    /// When a read with VTIME gives up, monotonic ns.
    give_up: Cell<Option<u64>>,
    host_eof: Cell<bool>,
    notifier: Notifier,
}

impl Tty {
    fn new(cx: &Cx, index: u32, is_console: bool) -> Rc<Tty> {
        Rc::new(Tty {
            index,
            is_console,
            line: RefCell::default(),
            window: Cell::new([0; 4]),
            foreground: Cell::new(0),
            session: Cell::new(0),
            locked: Cell::new(!is_console),
            slaves: Cell::new(0),
            was_open: Cell::new(false),
            hung_up: Cell::new(false),
            exclusive: Cell::new(false),
            packet: Cell::new(false),
            status: Cell::new(0),
            owner: Cell::new((cx.cred.uid, cx.cred.gid)),
            give_up: Cell::new(None),
            host_eof: Cell::new(false),
            notifier: cx.shared.notifier(),
        })
    }

    fn receive(&self, cx: &mut Cx, bytes: &[u8]) {
        for &byte in bytes {
            let stopped = self.line.borrow().stopped;
            let signal = self.line.borrow_mut().receive(byte);
            if signal.is_some() && !self.line.borrow().termios.local(NOFLSH) {
                self.happened(0, TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
            }
            self.tell_flow(stopped);
            if let (Some(signal), group @ 1..) = (signal, self.foreground.get()) {
                cx.world.signal_group(group, signal);
            }
        }
        self.drain_console(cx);
        self.notifier.wake();
    }

    /// In packet mode, what the master reads next is that `bits` happened, and `gone` no more.
    fn happened(&self, gone: u8, bits: u8) {
        if self.packet.get() {
            self.status.set(self.status.get() & !gone | bits);
            self.notifier.wake();
        }
    }

    /// As [`Tty::happened`], if output is held now and was not before, or the other way round.
    fn tell_flow(&self, before: bool) {
        match (before, self.line.borrow().stopped) {
            (false, true) => self.happened(TIOCPKT_START, TIOCPKT_STOP),
            (true, false) => self.happened(TIOCPKT_STOP, TIOCPKT_START),
            _ => {}
        }
    }

    /// The console's output goes to the host at once.
    fn drain_console(&self, cx: &mut Cx) {
        if self.is_console {
            let out: Vec<u8> = self.line.borrow_mut().output.drain(..).collect();
            let mut rest = out.as_slice();
            while !rest.is_empty() {
                match cx.host().stdout_write(rest) {
                    Ok(n @ 1..) => rest = rest.get(n..).unwrap_or(&[]),
                    _ => break,
                }
            }
        }
    }

    /// Moves what the host's input has into the console, whether anybody reads or not: Ctrl-C is input, too. Whether
    /// there was anything.
    pub fn pull_console(&self, cx: &mut Cx) -> bool {
        if !self.takes_host_input() {
            return false;
        }
        let mut buf = [0; 1024];
        match cx.host().stdin_read(&mut buf) {
            Ok(0) => {
                self.host_eof.set(true);
                self.notifier.wake();
            }
            Ok(n) => self.receive(cx, buf.get(..n).unwrap_or(&[])),
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            Err(_) => self.host_eof.set(true),
        }
        true
    }

    /// Whether the console has room for what the host's input may bring.
    pub fn takes_host_input(&self) -> bool {
        self.is_console && !self.host_eof.get() && self.line.borrow().has_room()
    }

    /// Job control: whether the caller may go on; a background process gets `signal` (SIGTTIN, SIGTTOU).
    fn check_job(&self, cx: &mut Cx, signal: u32) -> Res<()> {
        let job = cx.world.job();
        let controls = cx.world.controlling_tty() == Some(self.index);
        let foreground = self.foreground.get();
        if !controls || foreground == 0 || job.pgrp == foreground {
            return Ok(());
        }
        if cx.world.signal_blocked(signal) {
            return if signal == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        cx.world.signal_group(job.pgrp, signal);
        Err(Errno::EAGAIN)
    }

    /// Sets rows, columns and pixels; the foreground group hears of a change.
    pub fn set_window(&self, cx: &mut Cx, window: [u16; 4]) {
        if self.window.replace(window) != window && self.foreground.get() != 0 {
            cx.world.signal_group(self.foreground.get(), SIGWINCH);
        }
    }

    fn become_controlling(&self, cx: &mut Cx, steal: bool) -> Res<()> {
        let job = cx.world.job();
        if self.session.get() == job.sid && cx.world.controlling_tty() == Some(self.index) {
            return Ok(());
        }
        if job.pid != job.sid || cx.world.controlling_tty().is_some() {
            return Err(Errno::EPERM);
        }
        if self.session.get() != 0 {
            if !steal || !cx.cred.capable(crate::fs::cx::cap::SYS_ADMIN) {
                return Err(Errno::EPERM);
            }
            cx.world.set_controlling_tty(self.session.get(), None);
        }
        self.session.set(job.sid);
        self.foreground.set(job.pgrp);
        cx.world.set_controlling_tty(job.sid, Some(self.index));
        Ok(())
    }

    /// The session that it controlled has ended.
    pub fn leave_session(&self, sid: u32) {
        if self.session.get() == sid {
            self.session.set(0);
            self.foreground.set(0);
        }
    }

    /// Whether what the other side types is kept.
    pub fn has_room(&self) -> bool {
        self.line.borrow().has_room()
    }

    /// Whether programs had it open and none has any more.
    pub fn is_left(&self) -> bool {
        self.slaves.get() == 0 && self.was_open.get()
    }

    /// Lets programs open it (TIOCSPTLCK).
    pub fn unlock(&self) {
        self.locked.set(false);
    }

    /// Its foreground process group, 0 = none.
    pub fn foreground(&self) -> u32 {
        self.foreground.get()
    }

    fn ioctl(&self, cx: &mut Cx, request: u32, arg: u64, data: &mut [u8]) -> Res<u64> {
        let put32 = |data: &mut [u8], value: u32| {
            data.copy_from_slice(&value.to_le_bytes());
            Ok(0)
        };
        let get32 = |data: &[u8]| {
            u32::from_le_bytes(data.get(..4).and_then(|b| b.try_into().ok()).unwrap_or_default())
        };
        match request {
            TCGETS | TCGETS2 => self.line.borrow().termios.store(data),
            TCGETA => self.line.borrow().termios.store_termio(data),
            // Nothing is locked, and locking takes CAP_SYS_ADMIN.
            TIOCGLCKTRMIOS => data.fill(0),
            TIOCSLCKTRMIOS => return Err(Errno::EPERM),
            TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 | TCSETA | TCSETAW
            | TCSETAF => {
                self.check_job(cx, SIGTTOU)?;
                let mut line = self.line.borrow_mut();
                let mut new = line.termios.clone();
                match request {
                    TCSETA | TCSETAW | TCSETAF => new.load_termio(data),
                    _ => new.load(data),
                }
                let flushed = matches!(request, TCSETSF | TCSETSF2 | TCSETAF);
                if flushed {
                    line.flush_input();
                }
                let before = line.termios.stops_as_usual();
                line.set_termios(new);
                let now = line.termios.stops_as_usual();
                drop(line);
                if flushed {
                    self.happened(0, TIOCPKT_FLUSHREAD);
                }
                if before != now {
                    let bit = if now { TIOCPKT_DOSTOP } else { TIOCPKT_NOSTOP };
                    self.happened(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP, bit);
                }
                self.notifier.wake();
            }
            TCSBRK | TCSBRKP => {}
            TIOCEXCL | TIOCNXCL => self.exclusive.set(request == TIOCEXCL),
            TIOCGEXCL => return put32(data, u32::from(self.exclusive.get())),
            // N_TTY alone.
            TIOCGETD => return put32(data, 0),
            TIOCSETD if get32(data) == 0 => {}
            TIOCSETD => return Err(Errno::EINVAL),
            TIOCGDEV => return put32(data, device_number(self.index) as u32),
            TCXONC => {
                let mut line = self.line.borrow_mut();
                let before = line.stopped;
                match arg {
                    TCOOFF | TCOON => line.stopped = arg == TCOOFF,
                    TCIOFF | TCION => {
                        let byte = line.termios.cc[if arg == TCIOFF { VSTOP } else { VSTART }];
                        line.output.extend((byte != 0).then_some(byte));
                    }
                    _ => return Err(Errno::EINVAL),
                }
                drop(line);
                self.tell_flow(before);
                self.drain_console(cx);
                self.notifier.wake();
            }
            TCFLSH => {
                let (input, output) = match arg {
                    TCIFLUSH => (TIOCPKT_FLUSHREAD, 0),
                    TCOFLUSH => (0, TIOCPKT_FLUSHWRITE),
                    TCIOFLUSH => (TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE),
                    _ => return Err(Errno::EINVAL),
                };
                let mut line = self.line.borrow_mut();
                if input != 0 {
                    line.flush_input();
                }
                if output != 0 {
                    line.output.clear();
                }
                drop(line);
                self.happened(0, input | output);
            }
            TIOCGWINSZ => {
                for (out, value) in data.chunks_exact_mut(2).zip(self.window.get()) {
                    out.copy_from_slice(&value.to_le_bytes());
                }
            }
            TIOCSWINSZ => {
                let mut window = [0; 4];
                for (value, bytes) in window.iter_mut().zip(data.chunks_exact(2)) {
                    *value = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
                self.set_window(cx, window);
            }
            TIOCSCTTY => self.become_controlling(cx, arg == 1)?,
            TIOCNOTTY => {
                if cx.world.controlling_tty() != Some(self.index) {
                    return Err(Errno::ENOTTY);
                }
                let job = cx.world.job();
                if job.pid == job.sid {
                    for signal in [SIGHUP, SIGCONT] {
                        cx.world.signal_group(self.foreground.get(), signal);
                    }
                    self.leave_session(job.sid);
                    cx.world.set_controlling_tty(job.sid, None);
                } else {
                    cx.world.leave_controlling_tty();
                }
            }
            TIOCGPGRP | TIOCGSID => {
                if cx.world.controlling_tty() != Some(self.index) {
                    return Err(Errno::ENOTTY);
                }
                let sid = request == TIOCGSID;
                let value = if sid { self.session.get() } else { self.foreground.get() };
                return put32(data, value);
            }
            TIOCSPGRP => {
                let (job, group) = (cx.world.job(), get32(data));
                if cx.world.controlling_tty() != Some(self.index) || self.session.get() != job.sid {
                    return Err(Errno::ENOTTY);
                }
                self.check_job(cx, SIGTTOU)?;
                if group == 0 || group > i32::MAX as u32 {
                    return Err(Errno::EINVAL);
                }
                if !cx.world.group_in_session(group, job.sid) {
                    return Err(Errno::EPERM);
                }
                self.foreground.set(group);
            }
            FIONREAD => {
                let line = self.line.borrow();
                let canonical = line.termios.local(ICANON);
                let n = if canonical { line.lines.iter().sum() } else { line.input.len() };
                return put32(data, n as u32);
            }
            TIOCOUTQ => return put32(data, self.line.borrow().output.len() as u32),
            TIOCSTI => {
                let byte = data.first().copied().unwrap_or(0);
                self.receive(cx, &[byte]);
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

/// Makes the terminal whose other side the host has, and says its index.
pub fn make_console(cx: &mut Cx) -> Res<u32> {
    let shared = cx.shared.clone();
    let ttys = shared.registry::<Terminals>();
    let console = Tty::new(cx, ttys.free_index()?, true);
    let (rows, columns) = cx.host().window_size().unwrap_or_default();
    console.window.set([rows, columns, 0, 0]);
    console.line.borrow_mut().is_edited = cx.host().edits_lines();
    ttys.all.borrow_mut().insert(console.index, Rc::downgrade(&console));
    let index = console.index;
    *ttys.console.borrow_mut() = Some(console);
    Ok(index)
}

/// Opens terminal `index` as programs do; it may become the controlling terminal.
pub fn open_index(cx: &mut Cx, index: u32, flags: u32) -> Res<Rc<dyn FileOps>> {
    let shared = cx.shared.clone();
    let ttys = shared.registry::<Terminals>();
    let tty = ttys.get(index).ok_or(Errno::ENXIO)?;
    if tty.locked.get() || tty.hung_up.get() {
        return Err(Errno::EIO);
    }
    if tty.exclusive.get() && !cx.cred.capable(crate::fs::cx::cap::SYS_ADMIN) {
        return Err(Errno::EBUSY);
    }
    if flags & O_NOCTTY == 0 && tty.session.get() == 0 {
        // Only a session leader without a terminal gets one; everybody else just opens the file.
        let _ = tty.become_controlling(cx, false);
    }
    tty.slaves.set(tty.slaves.get() + 1);
    tty.was_open.set(true);
    tty.notifier.wake();
    Ok(Rc::new(Slave { tty }))
}

/// Opens `/dev/ptmx`: a new pair.
pub fn open_master(cx: &mut Cx) -> Res<Rc<dyn FileOps>> {
    let shared = cx.shared.clone();
    let ttys = shared.registry::<Terminals>();
    let index = ttys.free_index()?;
    let tty = Tty::new(cx, index, false);
    ttys.all.borrow_mut().insert(index, Rc::downgrade(&tty));
    Ok(Rc::new(Master { tty, hangups: shared.hangups.clone() }))
}

/// The side that programs use as their terminal.
struct Slave {
    tty: Rc<Tty>,
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.tty.slaves.set(self.tty.slaves.get().saturating_sub(1));
        self.tty.notifier.wake();
    }
}

impl FileOps for Slave {
    fn kind_name(&self) -> &'static str {
        "terminal"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let tty = &self.tty;
        tty.check_job(cx, SIGTTIN)?;
        if buf.is_empty() {
            return Ok(0);
        }
        tty.pull_console(cx);
        let readable = tty.line.borrow().readable();
        if readable.is_some() {
            tty.give_up.set(None);
            let n = tty.line.borrow_mut().take(buf);
            tty.notifier.wake();
            return Ok(n);
        }
        if tty.hung_up.get() || tty.host_eof.get() {
            return Ok(0);
        }
        let (canonical, tenths) = {
            let t = &tty.line.borrow().termios;
            (t.local(ICANON), u64::from(t.cc[VTIME]))
        };
        if !canonical && tenths > 0 && tty.line.borrow().termios.cc[VMIN] == 0 {
            let now = cx.monotonic();
            match tty.give_up.get() {
                Some(end) if end <= now => {
                    tty.give_up.set(None);
                    return Ok(0);
                }
                Some(_) => {}
                None => tty.give_up.set(Some(now + tenths * 100_000_000)),
            }
        }
        Err(Errno::EAGAIN)
    }

    fn write(&self, cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        let tty = &self.tty;
        if tty.hung_up.get() {
            return Err(Errno::EIO);
        }
        if tty.line.borrow().termios.local(TOSTOP) {
            tty.check_job(cx, SIGTTOU)?;
        }
        let room = MAX_OUTPUT.saturating_sub(tty.line.borrow().output.len());
        if !tty.is_console && (room == 0 || tty.line.borrow().stopped) {
            return Err(Errno::EAGAIN);
        }
        let n = if tty.is_console { buf.len() } else { buf.len().min(room) };
        tty.line.borrow_mut().emit(&buf[..n]);
        tty.drain_console(cx);
        tty.notifier.wake();
        Ok(n)
    }

    fn poll(&self, cx: &mut Cx) -> u32 {
        let tty = &self.tty;
        tty.pull_console(cx);
        let line = tty.line.borrow();
        let mut events = 0;
        if line.readable().is_some_and(|n| n > 0 || !line.lines.is_empty()) || tty.host_eof.get() {
            events |= READABLE;
        }
        if line.output.len() < MAX_OUTPUT {
            events |= WRITABLE;
        }
        if tty.hung_up.get() { events | READABLE | POLLHUP } else { events }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.tty.notifier.key());
        if self.tty.is_console {
            out.push(WaitKey::STDIN);
        }
    }

    fn generation(&self) -> u64 {
        self.tty.notifier.generation()
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<u64> {
        self.tty.give_up.get()
    }

    fn ioctl(
        &self,
        cx: &mut Cx,
        _file: &OpenFile,
        request: u32,
        arg: u64,
        data: &mut [u8],
    ) -> Res<u64> {
        self.tty.ioctl(cx, request, arg, data)
    }
}

/// The side that a terminal emulator holds.
pub struct Master {
    tty: Rc<Tty>,
    hangups: Rc<RefCell<Vec<(u32, u32)>>>,
}

impl Master {
    /// The pair's terminal.
    pub fn tty(&self) -> &Rc<Tty> {
        &self.tty
    }

    /// Opens the other side (TIOCGPTPEER).
    pub fn open_peer(&self, cx: &mut Cx, flags: u32) -> Res<Rc<dyn FileOps>> {
        open_index(cx, self.tty.index, flags)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.tty.hung_up.set(true);
        if self.tty.session.get() != 0 {
            let ended = (self.tty.session.get(), self.tty.foreground.get());
            self.hangups.borrow_mut().push(ended);
        }
        self.tty.notifier.wake();
    }
}

impl Tty {
    /// Whether the master side has gone.
    pub fn is_hung_up(&self) -> bool {
        self.hung_up.get()
    }
}

impl FileOps for Master {
    fn kind_name(&self) -> &'static str {
        "pseudo-terminal master"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, _file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let tty = &self.tty;
        let mut line = tty.line.borrow_mut();
        let mut head = 0;
        if let (true, Some(first)) = (tty.packet.get(), buf.first_mut()) {
            *first = tty.status.take();
            if *first != TIOCPKT_DATA {
                return Ok(1);
            }
            head = usize::from(!line.output.is_empty());
        }
        let rest = buf.get_mut(head..).unwrap_or_default();
        let n = rest.len().min(line.output.len());
        for (out, byte) in rest.iter_mut().zip(line.output.drain(..n)) {
            *out = byte;
        }
        drop(line);
        if head + n > 0 {
            tty.notifier.wake();
            return Ok(head + n);
        }
        if tty.is_left() {
            return Err(Errno::EIO);
        }
        Err(Errno::EAGAIN)
    }

    fn write(&self, cx: &mut Cx, _file: &OpenFile, buf: &[u8]) -> Res<usize> {
        self.tty.receive(cx, buf);
        Ok(buf.len())
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let hup = self.tty.is_left();
        let line = self.tty.line.borrow();
        let readable = if line.output.is_empty() { 0 } else { READABLE };
        let status = if self.tty.status.get() == 0 { 0 } else { READABLE | POLLPRI };
        WRITABLE | readable | status | if hup { POLLHUP } else { 0 }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.tty.notifier.key());
    }

    fn generation(&self) -> u64 {
        self.tty.notifier.generation()
    }

    fn signals_io(&self) -> bool {
        true
    }

    fn ioctl(
        &self,
        cx: &mut Cx,
        _file: &OpenFile,
        request: u32,
        arg: u64,
        data: &mut [u8],
    ) -> Res<u64> {
        let tty = &self.tty;
        match request {
            TIOCGPTN => data.copy_from_slice(&tty.index.to_le_bytes()),
            TIOCSPTLCK => tty.locked.set(data.iter().any(|b| *b != 0)),
            TIOCGPTLCK => data.copy_from_slice(&u32::from(tty.locked.get()).to_le_bytes()),
            TIOCPKT => {
                tty.packet.set(data.iter().any(|b| *b != 0));
                tty.status.set(if tty.packet.get() { tty.status.get() } else { 0 });
            }
            TIOCGPKT => data.copy_from_slice(&u32::from(tty.packet.get()).to_le_bytes()),
            TIOCSIG => match (u32::try_from(arg), tty.foreground.get()) {
                (Ok(SIGINT | SIGQUIT | SIGTSTP), 0) => {}
                (Ok(signal @ (SIGINT | SIGQUIT | SIGTSTP)), group) => {
                    cx.world.signal_group(group, signal);
                }
                _ => return Err(Errno::EINVAL),
            },
            FIONREAD => {
                let n = tty.line.borrow().output.len() as u32;
                data.copy_from_slice(&n.to_le_bytes());
            }
            TIOCGPGRP => data.copy_from_slice(&tty.foreground.get().to_le_bytes()),
            TIOCSCTTY | TIOCNOTTY | TIOCSPGRP | TIOCGSID => return Err(Errno::ENOTTY),
            _ => return tty.ioctl(cx, request, arg, data),
        }
        Ok(0)
    }
}
