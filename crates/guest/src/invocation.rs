//! What this run of the box was asked to do: WASI arguments and environment.

use crate::channel::Place;
use crate::mounts::Mounts;
use crate::wasi;
use machine::Naming;
use mux::publish::Port;
use rootfs::config::CpuLevel;
use rootfs::limits::Limits;
use rootfs::rights::Rights;

/// Whether the standard streams are a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Ask the host.
    Detect,
    /// They are not.
    No,
    /// They are, one that nobody has made raw: it edits and echoes lines.
    Lines,
    /// They are, made raw; with their size when known.
    Yes(Option<Size>),
}

/// Size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Arguments, environment and the image configuration's replacements.
///
/// The replacements are environment variables whose names begin with `BOXER_`; programs in the box do
/// not see them.
#[derive(Debug)]
pub struct Invocation {
    /// What replaces CMD, when not empty.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value`, merged over the image's `Env`.
    pub env: Vec<Vec<u8>>,
    /// `BOXER_ENTRYPOINT`: one word that replaces ENTRYPOINT and drops CMD.
    pub entrypoint: Option<Vec<u8>>,
    /// `BOXER_WORKDIR`: the working directory.
    pub workdir: Option<String>,
    /// `BOXER_USER`: the user.
    pub user: Option<String>,
    /// `BOXER_HOSTNAME`: the host name.
    pub hostname: Option<String>,
    /// `BOXER_ADD_HOST=NAME:IP,…`, `BOXER_DNS=IP,…`, `BOXER_DNS_SEARCH=DOMAIN,…`, `BOXER_DNS_OPTION=OPTION,…`.
    pub naming: Naming,
    /// `BOXER_CPU`: the processor that the programs see; a name that is unknown is none.
    pub cpu: Option<CpuLevel>,
    /// `BOXER_MEMORY`, `BOXER_STORAGE`, `BOXER_TIMEOUT`, `BOXER_CPU_TIME`, `BOXER_PIDS`, `BOXER_INSTRUCTIONS`, `BOXER_OPEN_FILES`.
    pub limits: Limits,
    /// `BOXER_CAPABILITIES`, `BOXER_GROUPS`, `BOXER_ULIMITS`, `BOXER_READ_ONLY`, `BOXER_NO_NEW_PRIVILEGES`.
    pub rights: Rights,
    /// What is wrong with the value of a limit or right: the box does not run without it.
    pub mistake: Option<String>,
    /// `BOXER_TTY`: `1` or `COLSxROWS` for yes, `lines` for one that is not raw, `0` for no.
    pub terminal: Terminal,
    /// `BOXER_EXIT_MAX=N`: the largest exit status that the host takes.
    pub largest_status: Option<u32>,
    /// `BOXER_TRANSLATE=none`: use no code that came compiled with the box.
    pub interpret: bool,
    /// `BOXER_INIT=1`: a first process of its own runs the program.
    pub init: bool,
    /// `BOXER_INIT=pause`: that process alone runs, and no program.
    pub pause: bool,
    /// `BOXER_STRACE=1`: print system calls.
    pub strace: bool,
    /// `BOXER_DEBUG=1`: report what is unknown.
    pub debug: bool,
    /// `BOXER_BUILD=1`: this is a build step; write its layer.
    pub build: bool,
    /// `BOXER_CLOCK=SECONDS`: clocks start there and count guest instructions, and randomness is fixed, so that the same
    /// step gives the same result.
    pub clock: Option<u64>,
    /// `BOXER_CONTROL`: the stream on which the host sends signals and the terminal's size.
    pub control: Option<Place>,
    /// `BOXER_EXEC`: the stream on which the host starts processes and reaches files.
    pub exec: Option<Place>,
    /// `BOXER_FILES=FD`: the descriptor that answers what WASI cannot about files.
    pub files: Option<wasi::Fd>,
    /// `BOXER_IMAGE=FD`: the descriptor from which contents of files are read that are kept outside of the box.
    pub image: Option<wasi::Fd>,
    /// `BOXER_MOUNTS`: what is mounted beside whole directories.
    pub mounts: Mounts,
    /// `BOXER_NET`: the stream that leads to a network.
    pub network: Option<Place>,
    /// `BOXER_SOCKETS`: the stream that leads to the sockets which the host serves.
    pub sockets: Option<Place>,
    /// `BOXER_PUBLISH=[IP:]HOST:GUEST[/udp],…`: where a component listens.
    pub ports: Vec<Port>,
}

impl Invocation {
    /// Reads what the host gave.
    pub fn from_host() -> Self {
        Self::new(wasi::args().into_iter().skip(1).collect(), wasi::environ())
    }

    fn new(args: Vec<Vec<u8>>, environ: Vec<Vec<u8>>) -> Self {
        let mut found = Invocation {
            args,
            env: Vec::new(),
            entrypoint: None,
            workdir: None,
            user: None,
            hostname: None,
            naming: Naming::default(),
            cpu: None,
            limits: Limits::default(),
            rights: Rights::default(),
            mistake: None,
            terminal: Terminal::Detect,
            largest_status: None,
            interpret: false,
            init: false,
            pause: false,
            strace: false,
            debug: false,
            build: false,
            clock: None,
            control: None,
            exec: None,
            files: None,
            image: None,
            mounts: Mounts::default(),
            network: None,
            sockets: None,
            ports: Vec::new(),
        };
        for variable in environ {
            match variable.strip_prefix(b"BOXER_") {
                Some(rest) => found.take(rest),
                None => found.env.push(variable),
            }
        }
        found
    }

    /// One `BOXER_` variable, without the prefix. Unknown names are kept from the programs, too.
    fn take(&mut self, variable: &[u8]) {
        let split = variable.iter().position(|byte| *byte == b'=').unwrap_or(variable.len());
        let (name, value) = (&variable[..split], variable.get(split + 1..).unwrap_or_default());
        let on = value != b"0" && !value.is_empty();
        let string = || Some(String::from_utf8_lossy(value).into_owned());
        match name {
            b"ENTRYPOINT" => self.entrypoint = Some(value.to_vec()),
            b"WORKDIR" => self.workdir = string(),
            b"USER" => self.user = string(),
            b"HOSTNAME" => self.hostname = string(),
            b"ADD_HOST" => {
                let pair = |entry: String| {
                    entry.split_once([':', '=']).map(|(name, ip)| (name.to_owned(), ip.to_owned()))
                };
                self.naming.hosts = list(value).into_iter().filter_map(pair).collect();
            }
            b"DNS" => self.naming.servers = list(value),
            b"DNS_SEARCH" => self.naming.search = list(value),
            b"DNS_OPTION" => self.naming.options = list(value),
            b"CPU" => self.cpu = std::str::from_utf8(value).ok().and_then(CpuLevel::from_name),
            b"TTY" => {
                self.terminal = match value {
                    b"lines" => Terminal::Lines,
                    _ if on => Terminal::Yes(size(value)),
                    _ => Terminal::No,
                }
            }
            b"EXIT_MAX" => self.largest_status = number(value),
            b"TRANSLATE" => self.interpret = value == b"none",
            b"INIT" => (self.init, self.pause) = (on && value != b"pause", value == b"pause"),
            b"STRACE" => self.strace = on,
            b"DEBUG" => self.debug = on,
            b"BUILD" => self.build = on,
            b"CLOCK" => self.clock = number(value),
            b"CONTROL" => self.control = Place::parse(value),
            b"EXEC" => self.exec = Place::parse(value),
            b"MOUNTS" => self.mounts = Mounts::new(&String::from_utf8_lossy(value)),
            b"FILES" => self.files = number(value),
            b"IMAGE" => self.image = number(value),
            b"NET" => self.network = Place::parse(value),
            b"SOCKETS" => self.sockets = Place::parse(value),
            b"PUBLISH" => self.publish(value),
            _ => self.take_limit(name, value),
        }
    }

    fn publish(&mut self, value: &[u8]) {
        for word in list(value) {
            match Port::parse(&word) {
                Ok(ports) => self.ports.extend(ports),
                Err(reason) => self.mistake = Some(format!("BOXER_PUBLISH={word}: {reason}")),
            }
        }
    }

    fn take_limit(&mut self, name: &[u8], value: &[u8]) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (name, value) = (text(name), text(value));
        let taken = match self.limits.take(&name, &value) {
            Ok(false) => self.rights.take(&name, &value),
            taken => taken,
        };
        if let Err(reason) = taken {
            self.mistake = Some(format!("BOXER_{name}: {reason}"));
        }
    }
}

/// Words between commas. Spaces and line ends have no place in the files that the words go to.
fn list(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value);
    let words = text.split(',').filter(|w| !w.is_empty() && !w.contains(char::is_whitespace));
    words.map(str::to_owned).collect()
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `COLSxROWS`.
fn size(value: &[u8]) -> Option<Size> {
    let (columns, rows) = std::str::from_utf8(value).ok()?.split_once('x')?;
    Some(Size { columns: columns.parse().ok()?, rows: rows.parse().ok()? })
}
