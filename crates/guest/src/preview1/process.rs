//! The program's beginning and end, arguments and environment.

use super::{Answer, PROGRAM, Program, memory, outside, table::Table};
use crate::channel::Place;
use crate::drive::{BOX_FAILURE, HEADROOM, start_args};
use crate::host::{WasiHost, Ways};
use crate::invocation::Invocation;
use crate::stdio::{Stdin, Stdout};
use crate::{boot, largest_status, wasi};
use abi::Errno;
use abi::fcntl::O_DIRECTORY;
use kernel::fs::OpenFile;
use machine::Machine;
use std::rc::Rc;

/// Readies the files for the program whose memory begins at `base`; what is wrong ends the box.
pub fn begin(base: usize) {
    memory::begins_at(base);
    let invocation = Invocation::from_host();
    let most = invocation.largest_status.unwrap_or_else(largest_status);
    match prepare(invocation, most) {
        Ok(program) => PROGRAM.set(Some(program)),
        Err((text, status)) => {
            eprintln!("boxer: {text}");
            end(status as u32, most);
        }
    }
}

/// The program's own end, with status 0. Hosts of JavaScript hear of an exit by an exception, and not all of their users take one for
/// success: there is none.
pub fn end_of_start() {
    super::call(|program| {
        program.finish();
        Ok(())
    });
}

fn prepare(invocation: Invocation, largest_status: u32) -> Result<Program, (String, i32)> {
    let broken = |text: String| (text, BOX_FAILURE);
    let Some(mut machine) = boot::take() else {
        return Err(broken("this is a bare guest program; link it with a program first".into()));
    };
    if let Some(mistake) = invocation.mistake.clone().or_else(|| beyond(&invocation)) {
        return Err(broken(mistake));
    }
    let streams = (Rc::new(Stdin::new()), Rc::new(Stdout::default()));
    machine.kernel().host = Box::new(WasiHost::new(&invocation, None, streams, Ways::default()));
    machine.kernel().set_record_limit(boot::OWN_MEMORY - HEADROOM);
    let mut args = start_args(invocation, false);
    // All memory that there is beside the box's own is for files.
    args.limits.storage.get_or_insert(machine.kernel().mm.phys.limit_bytes());
    let beside =
        machine.start_beside(args).map_err(|failure| (failure.to_string(), failure.status()))?;
    let root =
        open_root(&mut machine, beside.thread).map_err(|errno| broken(errno.text().into()))?;
    let ended = |mut text: Vec<u8>| {
        text.push(0);
        text
    };
    Ok(Program {
        machine,
        thread: beside.thread,
        args: beside.argv.into_iter().map(ended).collect(),
        env: beside.env.into_iter().map(ended).collect(),
        table: Table::new(root),
        largest_status,
    })
}

/// What was asked for that nobody could carry out: the program runs beside the kernel, as a module of WASI's preview 1.
fn beyond(invocation: &Invocation) -> Option<String> {
    let open = |place: &Option<Place>| place.as_ref().is_some_and(|place| *place != Place::Nowhere);
    let limits = &invocation.limits;
    let asked = [
        (open(&invocation.network) || !invocation.ports.is_empty(), "a network"),
        (limits.memory.is_some(), "a limit of memory"),
        (limits.timeout.is_some() || limits.cpu_time.is_some(), "a limit of time"),
        (limits.instructions.is_some(), "a limit of instructions"),
        (limits.open_files.is_some(), "a limit of open files"),
        (invocation.clock.is_some(), "a clock of its own"),
    ];
    let (_, what) = asked.into_iter().find(|(asked, _)| *asked)?;
    Some(format!(
        "this box's program is a WASI module, which cannot have {what} from the box; the host it runs on may give it"
    ))
}

fn open_root(machine: &mut Machine, thread: kernel::ThreadId) -> Result<Rc<OpenFile>, Errno> {
    let kernel = machine.kernel();
    let root = kernel.root.clone();
    OpenFile::open(&mut kernel.cx(thread), &root, O_DIRECTORY)
}

/// Ends the box with a program's status.
fn end(status: u32, most: u32) -> ! {
    if status > most {
        eprintln!(
            "boxer: the program ended with status {status}; this host takes none above {most}"
        );
    }
    wasi::exit(status.min(most))
}

impl Program {
    pub fn proc_exit(&mut self, status: u32) -> Answer {
        self.finish();
        end(status, self.largest_status)
    }

    /// Closes what is open.
    fn finish(&mut self) {
        self.table = Table::new(self.table.root().clone());
        // What host directories are still owed is done when a context is made.
        drop(self.cx());
    }

    pub fn proc_raise(&mut self, _signal: u32) -> Answer {
        Err(Errno::ENOSYS.into())
    }

    pub fn args_sizes_get(&mut self, count: u32, bytes: u32) -> Answer {
        sizes(&self.args, count, bytes)
    }

    pub fn args_get(&mut self, list: u32, bytes: u32) -> Answer {
        strings(&self.args, list, bytes)
    }

    pub fn environ_sizes_get(&mut self, count: u32, bytes: u32) -> Answer {
        sizes(&self.env, count, bytes)
    }

    pub fn environ_get(&mut self, list: u32, bytes: u32) -> Answer {
        strings(&self.env, list, bytes)
    }

    pub fn clock_res_get(&mut self, id: u32, out: u32) -> Answer {
        outside::clock_res_get(id, out)
    }

    pub fn clock_time_get(&mut self, id: u32, precision: u64, out: u32) -> Answer {
        outside::clock_time_get(id, precision, out)
    }

    pub fn random_get(&mut self, at: u32, len: u32) -> Answer {
        outside::random_get(at, len)
    }

    pub fn sched_yield(&mut self) -> Answer {
        outside::sched_yield()
    }

    /// No descriptor of the program is a socket.
    pub fn no_socket(&mut self, fd: u32) -> Answer {
        self.table.get(fd)?;
        Err(Errno::ENOTSOCK.into())
    }
}

fn sizes(words: &[Vec<u8>], count: u32, bytes: u32) -> Answer {
    memory::put_u32(count, words.len() as u32)?;
    Ok(memory::put_u32(bytes, words.iter().map(Vec::len).sum::<usize>() as u32)?)
}

fn strings(words: &[Vec<u8>], mut list: u32, mut bytes: u32) -> Answer {
    for word in words {
        memory::put_u32(list, bytes)?;
        memory::put(bytes, word)?;
        list = list.saturating_add(4);
        bytes = bytes.saturating_add(word.len() as u32);
    }
    Ok(())
}
