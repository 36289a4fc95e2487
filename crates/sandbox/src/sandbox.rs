//! One sandbox.

use crate::alarm::Alarm;
use crate::audit::{Audit, Sink};
use crate::code::{Cancel, Code, Context, Event, Execution, Language, Progress, Slot};
use crate::commands::{self, CommandHandle, CommandOptions, CommandOutput, CommandResult};
use crate::diff::{Difference, Tree};
use crate::error::Error;
use crate::export::{self, Exported, Format, Scope};
use crate::files::Files;
use crate::id;
use crate::limit::Limit;
use crate::policy::{Policy, Spent, seconds};
use crate::ports::Door;
use crate::running::{Notice, Running, lock};
use crate::template::{self, Template};
use rootfs::limits;
use runtime::{Frozen, NetworkEvent, Next, Overrides, RunOptions, Traffic};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of one event beside what a sandbox may put out.
const EVENT: usize = 64 << 10;
/// Contexts and commands that are remembered.
const CONTEXTS: usize = 64;
const COMMANDS: usize = 1_024;

/// A sandbox. Clones are the same; it ends when it is killed, when its time is over, or with its host.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    id: String,
    alarm: Alarm,
    template: Template,
    policy: Policy,
    metadata: BTreeMap<String, String>,
    audit: Audit,
    traffic: Arc<Traffic>,
    spent: Mutex<Spent>,
    started: SystemTime,
    deadline: Mutex<Instant>,
    life: Mutex<Life>,
    contexts: Mutex<Contexts>,
    commands: Mutex<BTreeMap<u32, CommandHandle>>,
    doors: Mutex<BTreeMap<u16, Door>>,
}

type Contexts = BTreeMap<String, Arc<Slot>>;

/// Where a sandbox is.
enum Life {
    Runs(Arc<Running>),
    Paused(Frozen),
    Ended(String),
    /// Nobody shall see it any more.
    Killed,
}

/// What its host gives a sandbox.
pub(crate) struct Made {
    pub sink: Option<Sink>,
    pub alarm: Alarm,
}

/// How one ends that is killed.
const KILLED: &str = "it was killed";

impl Life {
    fn running(&self) -> Result<Arc<Running>, Error> {
        match self {
            Life::Runs(running) => match running.how() {
                Some(how) => Err(Error::Ended(how)),
                None => Ok(running.clone()),
            },
            Life::Paused(_) => Err(Error::Paused),
            Life::Ended(how) => Err(Error::Ended(how.clone())),
            Life::Killed => Err(Error::Ended(KILLED.to_owned())),
        }
    }
}

/// What is known of a sandbox.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxInfo {
    /// Its number.
    pub id: String,
    /// `running`, `paused` or `ended`.
    pub state: &'static str,
    /// Why it has ended.
    pub reason: Option<String>,
    /// When it started, in seconds since the epoch.
    pub started_at: f64,
    /// Seconds until its time is over.
    pub time_left: f64,
    /// What its maker has noted.
    pub metadata: BTreeMap<String, String>,
    /// What it may do.
    pub policy: Policy,
}

/// What a sandbox uses, and has used since it was made (a copy: since it was copied).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Instructions that its programs have executed.
    pub instructions: u64,
    /// Seconds of processor time that they have had.
    pub cpu_time: f64,
    /// Bytes of memory that they have now.
    pub memory: u64,
    /// Bytes of files that were written.
    pub storage: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open files.
    pub open_files: u64,
    /// Bytes exchanged with the network.
    pub network_bytes: u64,
}

/// How code is to be run; the default is Python in its context.
#[derive(Clone, Debug, Default)]
pub struct RunCode {
    /// The language; none is that of the context, or Python.
    pub language: Option<Language>,
    /// The context; none is that of the language.
    pub context: Option<String>,
    /// Variables that are set before, and stay.
    pub env: BTreeMap<String, String>,
    /// A directory that is entered before.
    pub cwd: Option<String>,
    /// How long it may take; none is 300 s.
    pub timeout: Option<Duration>,
    /// Instructions that may be executed for it, counted one by one; then the code gets SIGINT, and when it has not stopped 100 million
    /// instructions later SIGKILL. What leaves the interpreter's session (setsid(2)) is not counted.
    pub instructions: Option<u64>,
    /// Stops it.
    pub cancel: Cancel,
}

impl Sandbox {
    pub(crate) fn create(
        template: &Template,
        policy: Policy,
        metadata: BTreeMap<String, String>,
        made: Made,
    ) -> Result<Sandbox, Error> {
        policy.check()?;
        let sandbox = Sandbox::begin(template, template.state().clone(), policy, metadata, made)?;
        if template.has_python() {
            let slot = Slot::new(Context::prepared());
            lock(&sandbox.0.contexts).insert(Language::Python.name().to_owned(), slot);
        }
        sandbox.0.audit.record("sandbox.created", json!({"policy": sandbox.0.policy}));
        Ok(sandbox)
    }

    fn begin(
        template: &Template,
        state: Frozen,
        policy: Policy,
        metadata: BTreeMap<String, String>,
        made: Made,
    ) -> Result<Sandbox, Error> {
        let id = id::new()?;
        let audit = Audit::new(&id, made.sink);
        let traffic = Arc::new(Traffic::new(policy.network_bytes));
        let running = start(state, &policy, &audit, &traffic, Spent::default())?;
        let now = Instant::now();
        let far = now + Duration::from_secs(1 << 31);
        let deadline = now.checked_add(policy.lifetime()).unwrap_or(far);
        Ok(Sandbox(Arc::new(Inner {
            id,
            alarm: made.alarm,
            template: template.clone(),
            policy,
            metadata,
            audit,
            traffic,
            spent: Mutex::default(),
            started: SystemTime::now(),
            deadline: Mutex::new(deadline),
            life: Mutex::new(Life::Runs(Arc::new(running))),
            contexts: Mutex::default(),
            commands: Mutex::default(),
            doors: Mutex::default(),
        })))
    }

    /// A copy that goes on from `state`, which is its own.
    pub(crate) fn copy(&self, state: Frozen, made: Made) -> Result<Sandbox, Error> {
        let Inner { template, policy, metadata, .. } = &*self.0;
        let copy = Sandbox::begin(template, state, policy.clone(), metadata.clone(), made)?;
        *lock(&copy.0.contexts) = self.copied_contexts();
        copy.0.audit.record("sandbox.created", json!({"fork_of": self.0.id}));
        self.0.audit.record("sandbox.forked", json!({"fork": copy.0.id}));
        Ok(copy)
    }

    /// Its number.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Its audit trail.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    pub(crate) fn started(&self) -> SystemTime {
        self.0.started
    }

    pub(crate) fn deadline(&self) -> Instant {
        *lock(&self.0.deadline)
    }

    /// What is known of it.
    pub fn info(&self) -> SandboxInfo {
        let (state, reason) = match &*lock(&self.0.life) {
            Life::Runs(running) => {
                running.how().map_or(("running", None), |how| ("ended", Some(how)))
            }
            Life::Paused(_) => ("paused", None),
            Life::Ended(how) => ("ended", Some(how.clone())),
            Life::Killed => ("ended", Some(KILLED.to_owned())),
        };
        let started = self.0.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SandboxInfo {
            id: self.0.id.clone(),
            state,
            reason,
            started_at: started.as_secs_f64(),
            time_left: self.deadline().saturating_duration_since(Instant::now()).as_secs_f64(),
            metadata: self.0.metadata.clone(),
            policy: self.0.policy.clone(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        match &*lock(&self.0.life) {
            Life::Runs(running) => running.how().is_some(),
            Life::Paused(_) => false,
            Life::Ended(_) | Life::Killed => true,
        }
    }

    pub(crate) fn was_killed(&self) -> bool {
        matches!(&*lock(&self.0.life), Life::Killed)
    }

    /// Its time is over so many seconds from now.
    ///
    /// # Errors
    /// That is no time.
    pub fn set_timeout(&self, timeout: f64) -> Result<(), Error> {
        let timeout = seconds("timeout", timeout)?;
        let until = Instant::now().checked_add(timeout);
        *lock(&self.0.deadline) =
            until.ok_or_else(|| Error::Invalid("timeout: that is too long".to_owned()))?;
        self.0.alarm.ring();
        self.0.audit.record("sandbox.timeout", json!({"seconds": timeout.as_secs_f64()}));
        Ok(())
    }

    fn running(&self) -> Result<Arc<Running>, Error> {
        lock(&self.0.life).running()
    }

    /// Why it does not answer.
    fn lost(&self, running: &Running, error: std::io::Error) -> Error {
        running.ended().unwrap_or_else(|| Error::io("ask the box")(error))
    }

    /// What it uses, and has used since it was made.
    ///
    /// # Errors
    /// It has ended or is paused.
    pub fn usage(&self) -> Result<Usage, Error> {
        let running = self.running()?;
        let used = running.attach().usage().map_err(|error| self.lost(&running, error))?;
        self.0.audit.record_met(used.met);
        let spent = *lock(&self.0.spent);
        Ok(Usage {
            instructions: spent.instructions.saturating_add(used.instructions),
            cpu_time: spent.cpu_ns.saturating_add(used.cpu_ns) as f64 / 1e9,
            memory: used.memory,
            storage: used.storage,
            processes: used.threads,
            open_files: used.open_files,
            network_bytes: self.0.traffic.used(),
        })
    }

    /// Why nothing more is heard of something in it.
    pub(crate) fn gone(&self, why: &str) -> Error {
        self.running().err().unwrap_or_else(|| Error::Ended(why.to_owned()))
    }

    /// Runs code in an interpreter that keeps its variables, and tells what happens meanwhile. What goes wrong in the code, and limits that
    /// it reaches, are part of the answer.
    ///
    /// # Errors
    /// The sandbox has ended or is paused, or there is no such interpreter in it.
    pub fn run_code(
        &self,
        code: &str,
        how: &RunCode,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Execution, Error> {
        const LONG: Duration = Duration::from_secs(300);
        let running = self.running()?;
        let slot = self.context(&running, how)?;
        let mut context = lock(&slot.context);
        let language = slot.language;
        let name = how.context.as_deref().unwrap_or(language.name());
        let began = Instant::now();
        let fields = json!({"language": language, "context": name, "code": code});
        self.0.audit.record("code.started", fields);
        let code = Code {
            code,
            env: how.env.clone(),
            cwd: how.cwd.clone(),
            timeout: how.timeout.unwrap_or(LONG),
            instructions: how.instructions,
        };
        let longest = usize::try_from(self.0.policy.output).unwrap_or(usize::MAX);
        let mut progress = Progress::new(self.0.policy.output, tell);
        let good = match context.connect(&running, longest.saturating_add(EVENT)) {
            Ok(()) if how.cancel.begins(&slot, &running) => {
                let good = slot.run(&mut context, &running, &code, &mut progress);
                how.cancel.is_over();
                good?
            }
            Ok(()) => {
                progress.fail("Cancelled", "the call was cancelled before its turn came");
                true
            }
            Err(_) => false,
        };
        if !good {
            // A new interpreter comes with the next call.
            lock(&self.0.contexts).retain(|_, other| !Arc::ptr_eq(other, &slot));
            if let Some(error) = running.ended() {
                self.running()?;
                return Err(error);
            }
            let why = match progress.execution.limit {
                Some(Limit::Time) => {
                    "the time was over, and it did not stop at SIGINT: it was killed"
                }
                Some(Limit::Output) => {
                    "it wrote too much, and did not stop at SIGINT: it was killed"
                }
                Some(Limit::Instructions) => {
                    "its instructions were used up, and it did not stop at SIGINT: it was killed"
                }
                None => "the interpreter has ended: it exited, was killed, or ran out of memory",
            };
            progress.fail("ContextLost", why);
        }
        let execution = progress.execution;
        if let Some(limit) = execution.limit {
            self.0.audit.record("limit.reached", json!({"limit": limit, "by": "code"}));
        }
        if let Ok(usage) = running.attach().usage() {
            self.0.audit.record_met(usage.met);
        }
        let error = execution.error.as_ref().map(|error| &error.name);
        let fields = json!({
            "language": language,
            "context": name,
            "error": error,
            "limit": execution.limit,
            "seconds": began.elapsed().as_secs_f64(),
            "instructions": execution.instructions,
        });
        self.0.audit.record("code.finished", fields);
        Ok(execution)
    }

    /// The context that code is to be run in, which is started if it is not there.
    fn context(&self, running: &Running, how: &RunCode) -> Result<Arc<Slot>, Error> {
        let language = how.language.unwrap_or(Language::Python);
        let name = how.context.clone().unwrap_or_else(|| language.name().to_owned());
        let mut contexts = lock(&self.0.contexts);
        if let Some(context) = contexts.get(&name) {
            return Ok(context.clone());
        }
        if how.context.is_some() {
            return Err(Error::NotFound(format!("context {name:?}")));
        }
        let slot = Slot::new(Context::start(language, running, &self.0.policy.env)?);
        contexts.insert(name, slot.clone());
        Ok(slot)
    }

    /// Tells the code that runs in a context (none: in all) to stop, as Ctrl-C does; whether any ran.
    ///
    /// # Errors
    /// It has ended or is paused.
    pub fn interrupt(&self, context: Option<&str>) -> Result<bool, Error> {
        let running = self.running()?;
        let contexts = lock(&self.0.contexts).clone();
        let meant = contexts.iter().filter(|(name, _)| context.is_none_or(|c| c == name.as_str()));
        let ran = meant.map(|(_, slot)| slot.interrupt(&running)).fold(false, |a, b| a | b);
        self.0.audit.record("code.interrupted", json!({"context": context, "ran": ran}));
        Ok(ran)
    }

    /// Makes a context with variables of its own; its name.
    ///
    /// # Errors
    /// There is no such interpreter, or there are too many contexts.
    pub fn create_context(&self, language: Language) -> Result<String, Error> {
        let running = self.running()?;
        let context = Context::start(language, &running, &self.0.policy.env)?;
        let mut contexts = lock(&self.0.contexts);
        if contexts.len() >= CONTEXTS {
            return Err(Error::Invalid(format!("there are {CONTEXTS} contexts already")));
        }
        let name = id::new()?;
        contexts.insert(name.clone(), Slot::new(context));
        let fields = json!({"language": language, "context": name});
        self.0.audit.record("context.created", fields);
        Ok(name)
    }

    /// Runs a command line to its end and tells its output meanwhile; none as the timeout is 60 s.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_command(
        &self,
        line: &str,
        options: &CommandOptions,
        timeout: Option<Duration>,
        tell: &mut dyn FnMut(&CommandOutput),
    ) -> Result<CommandResult, Error> {
        const LONG: Duration = Duration::from_secs(60);
        let handle = self.start_command(line, options)?;
        let result = handle.wait(Some(timeout.unwrap_or(LONG)), tell);
        lock(&self.0.commands).remove(&handle.pid());
        match &result.error {
            Some(why) => Err(self.gone(why)),
            None => Ok(result),
        }
    }

    /// Starts a command line, which goes on in the background.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_command(
        &self,
        line: &str,
        options: &CommandOptions,
    ) -> Result<CommandHandle, Error> {
        let running = self.running()?;
        let Inner { template, policy, audit, .. } = &*self.0;
        let handle =
            commands::start(&running, template.shell(), line, options, policy.output, audit)
                .map_err(|error| running.ended().unwrap_or(error))?;
        let mut commands = lock(&self.0.commands);
        if commands.len() >= COMMANDS {
            commands.retain(|_, command| command.is_running());
        }
        commands.insert(handle.pid(), handle.clone());
        Ok(handle)
    }

    /// Commands in the background, and those of it that have ended not long ago.
    pub fn commands(&self) -> Vec<CommandHandle> {
        lock(&self.0.commands).values().cloned().collect()
    }

    /// The command of this process id.
    ///
    /// # Errors
    /// There is none.
    pub fn command(&self, pid: u32) -> Result<CommandHandle, Error> {
        let found = lock(&self.0.commands).get(&pid).cloned();
        found.ok_or_else(|| Error::NotFound(format!("command {pid}")))
    }

    /// Its files, as this user (`USER[:GROUP]`); none is that of the image.
    ///
    /// # Errors
    /// It has ended or is paused.
    pub fn files(&self, user: Option<&str>) -> Result<Files, Error> {
        let files = self.running()?.attach().files();
        let user = user.unwrap_or(self.0.template.owner());
        Ok(Files::new(files, user, self.0.audit.clone()))
    }

    /// TCP ports at which somebody listens in it, but for its interpreters.
    ///
    /// # Errors
    /// It has ended or is paused.
    pub fn list_ports(&self) -> Result<Vec<u16>, Error> {
        let files = self.running()?.attach().files();
        let mut ports = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = files.read(table).unwrap_or_default();
            ports.extend(String::from_utf8_lossy(&text).lines().filter_map(listening));
        }
        let contexts = lock(&self.0.contexts);
        let own = |port: &u16| contexts.values().any(|slot| slot.port == Some(*port));
        ports.retain(|port| !own(port) && *port != crate::code::driver::PYTHON_PORT);
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    /// Where a port of it is reached from this system, on its loopback.
    ///
    /// # Errors
    /// It has ended or is paused, or there is no port to be had.
    pub fn get_url(&self, port: u16) -> Result<String, Error> {
        let running = self.running()?;
        let mut doors = lock(&self.0.doors);
        let address = match doors.get(&port) {
            Some(door) => door.address(),
            None => {
                let door = Door::open(&running, port)?;
                let address = door.address();
                doors.insert(port, door);
                self.0
                    .audit
                    .record("port.opened", json!({"port": port, "at": address.to_string()}));
                address
            }
        };
        Ok(format!("http://{address}"))
    }

    fn files_now(&self) -> Result<(runtime::Files, Tree), Error> {
        let without: Vec<String> =
            self.0.policy.mounts.iter().map(|mount| mount.guest.clone()).collect();
        let files = self.running()?.attach().files();
        let now = Tree::read(&files, &without)?;
        Ok((files, now))
    }

    /// Writes its files as an archive, without those of host directories, and without extended attributes.
    ///
    /// # Errors
    /// It has ended or is paused, the files have more bytes than its budget and the image can hold, one cannot be named in a layer (`.wh.…`), or
    /// `out` takes no more.
    pub fn export(
        &self,
        scope: Scope,
        format: Format,
        out: impl std::io::Write,
    ) -> Result<Exported, Error> {
        // All that a box can hold.
        const ALL: u64 = 4 << 30;
        let (files, now) = self.files_now()?;
        let exported = match scope {
            Scope::Changes => {
                let differences = self.0.template.tree()?.diff(&now);
                let most = self.0.policy.storage.min(ALL);
                export::changes(&files, &differences, most, format, out)
            }
            Scope::All => export::all(&files, &now, ALL, format, out),
        };
        let exported = exported.map_err(|error| self.running().err().unwrap_or(error))?;
        let Exported { size, digest, .. } = &exported;
        let fields = json!({"what": scope, "format": format, "bytes": size, "digest": digest});
        self.0.audit.record("sandbox.exported", fields);
        Ok(exported)
    }

    /// What is different in its files since it started; host directories are not looked at.
    ///
    /// # Errors
    /// It has ended or is paused.
    pub fn diff(&self) -> Result<Vec<Difference>, Error> {
        let (_, now) = self.files_now()?;
        let found = self.0.template.tree()?.diff(&now);
        self.0.audit.record("sandbox.compared", json!({"files": found.len()}));
        Ok(found)
    }

    /// Lets it stand still: it takes no time and no thread, but its memory. Commands of the host in it are cut off.
    ///
    /// # Errors
    /// It has ended, or something in it cannot be put away.
    pub fn pause(&self) -> Result<(), Error> {
        // Who finds that the box has ended waits until it is known why.
        let mut life = lock(&self.0.life);
        let running = life.running()?;
        let used = running.attach().usage().map_err(|error| self.lost(&running, error))?;
        let state = running.freeze(Next::Ends(0))?;
        let mut spent = lock(&self.0.spent);
        spent.instructions = spent.instructions.saturating_add(used.instructions);
        spent.cpu_ns = spent.cpu_ns.saturating_add(used.cpu_ns);
        drop(spent);
        self.part();
        *life = Life::Paused(state);
        drop(life);
        self.0.audit.record("sandbox.paused", json!({}));
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not paused, or this system has no room for it.
    pub fn resume(&self) -> Result<(), Error> {
        let mut life = lock(&self.0.life);
        let state = match &*life {
            Life::Paused(state) => state.clone(),
            Life::Ended(_) | Life::Killed => return life.running().map(drop),
            Life::Runs(_) => return Err(Error::NotPaused),
        };
        let Inner { policy, audit, traffic, spent, .. } = &*self.0;
        let running = start(state, policy, audit, traffic, *lock(spent))?;
        *life = Life::Runs(Arc::new(running));
        self.0.audit.record("sandbox.resumed", json!({}));
        Ok(())
    }

    /// Writes its state as a file, from which others start ([`Host::resume`](crate::Host::resume)); it goes on.
    ///
    /// # Errors
    /// As for [`Sandbox::fork`]; the file cannot be written.
    pub fn snapshot(&self, to: &Path) -> Result<(), Error> {
        template::write(&self.state()?, to)?;
        self.0.audit.record("sandbox.snapshot", json!({"file": to.display().to_string()}));
        Ok(())
    }

    pub(crate) fn state(&self) -> Result<Frozen, Error> {
        if let Life::Paused(state) = &*lock(&self.0.life) {
            return Ok(state.clone());
        }
        self.running()?.freeze(Next::GoesOn)
    }

    /// The contexts that live on in a copy. One in which code runs just now waits for its end there.
    fn copied_contexts(&self) -> Contexts {
        let contexts = lock(&self.0.contexts);
        let copied = |(name, slot): (&String, &Arc<Slot>)| Some((name.clone(), slot.copied()?));
        contexts.iter().filter_map(copied).collect()
    }

    /// What was connected to it is not any more.
    fn part(&self) {
        let copied = self.copied_contexts();
        *lock(&self.0.contexts) = copied;
        lock(&self.0.commands).clear();
        lock(&self.0.doors).clear();
    }

    /// Ends it; whether it had not ended yet.
    pub fn kill(&self) -> bool {
        let ran = !self.has_ended();
        if ran {
            self.0.audit.record("sandbox.killed", json!({}));
        }
        self.end(KILLED);
        *lock(&self.0.life) = Life::Killed;
        self.0.alarm.ring();
        ran
    }

    pub(crate) fn time_is_over(&self) {
        let limit = self.0.policy.timeout;
        self.0.audit.record("limit.reached", json!({"limit": "time", "by": "sandbox"}));
        self.end(&format!("its time is over (timeout, {limit} s)"));
    }

    pub(crate) fn end(&self, why: &str) {
        let mut life = lock(&self.0.life);
        if let Life::Runs(running) = &*life {
            running.end(why);
            let how = running.how().unwrap_or_else(|| why.to_owned());
            *life = Life::Ended(how);
        } else if let Life::Paused(_) = &*life {
            *life = Life::Ended(why.to_owned());
        }
        drop(life);
        lock(&self.0.doors).clear();
    }
}

fn start(
    state: Frozen,
    policy: &Policy,
    audit: &Audit,
    traffic: &Arc<Traffic>,
    spent: Spent,
) -> Result<Running, Error> {
    let (network, lines, end) = (audit.clone(), audit.clone(), audit.clone());
    audit.begin_life();
    let report = move |event: &NetworkEvent| network.record_network(event);
    let notice: Notice = Arc::new(move |line| lines.record("box.says", json!({"line": line})));
    let limits = policy.limits(spent);
    let over = move |how: &str| {
        let used_up = [
            ("instructions", limits.instructions.map(limits::instructions_used_up)),
            ("cpu_time", limits.cpu_time.map(limits::cpu_time_used_up)),
        ];
        if let Some((limit, _)) = used_up.iter().find(|(_, said)| said.as_deref() == Some(how)) {
            end.record("limit.reached", json!({"limit": limit, "by": "sandbox"}));
        }
        end.record("sandbox.ended", json!({"reason": how}));
    };
    let options = RunOptions {
        env: policy.env.clone().into_iter().collect(),
        preopens: policy.preopens(),
        overrides: Overrides { limits, ..Overrides::default() },
        ..RunOptions::default()
    };
    let grant = policy.grant(Arc::new(report), traffic.clone())?;
    Running::fork(state, options, grant, notice, Box::new(over))
}

/// The port of a line of /proc/net/tcp, if somebody listens there (proc(5)).
fn listening(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let local = words.next()?;
    (words.nth(1)? == LISTEN).then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())?
}
