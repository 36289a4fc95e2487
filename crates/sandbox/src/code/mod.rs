//! Running code in interpreters that keep their variables from call to call.

mod cancel;
pub mod driver;
mod shell;

use crate::error::Error;
use crate::limit::{Limit, SIGINT, SIGKILL};
use crate::running::Running;
pub use cancel::Cancel;
use driver::{Driver, Heard};
use runtime::{Bound, Command};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shell::Shell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long an interpreter that was told to stop (SIGINT) may take, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A language that code can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python 3.
    Python,
    /// Node's JavaScript.
    JavaScript,
    /// bash.
    Bash,
}

impl Language {
    /// By its name, or another that people use for it.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(name: &str) -> Result<Language, Error> {
        match name {
            "" | "python" | "python3" => Ok(Language::Python),
            "javascript" | "js" | "node" => Ok(Language::JavaScript),
            "bash" | "sh" => Ok(Language::Bash),
            _ => Err(Error::Language(format!("{name:?} is none of python, javascript, bash"))),
        }
    }

    /// The name of the context that is used unless another is said.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::Bash => "bash",
        }
    }
}

/// What an error in code is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeError {
    /// Its class. `ContextLost`: the interpreter has ended, and variables with it.
    pub name: String,
    /// What it says.
    pub value: String,
    /// Where it happened, as the interpreter prints it.
    pub traceback: String,
}

/// A value: of the last expression (`main`), or shown on the way there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeResult {
    /// Whether it is the value of the last expression.
    pub main: bool,
    /// By MIME type; pictures are in base64.
    pub data: BTreeMap<String, Value>,
}

/// Something that happens while code runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// Text on standard output.
    Stdout {
        /// The text.
        text: String,
    },
    /// Text on standard error.
    Stderr {
        /// The text.
        text: String,
    },
    /// A value.
    Result(CodeResult),
    /// The code has failed.
    Error(CodeError),
}

/// What came of running code.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Execution {
    /// Values, in their order.
    pub results: Vec<CodeResult>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Why it failed, if it did.
    pub error: Option<CodeError>,
    /// Which run of its context this was, from 1.
    pub execution_count: u64,
    /// The limit that it has reached.
    pub limit: Option<Limit>,
    /// Instructions that were executed for it, if they had a limit: of the interpreter and what it has started.
    pub instructions: Option<u64>,
}

impl Execution {
    /// The text of the last expression's value.
    pub fn text(&self) -> Option<&str> {
        let main = self.results.iter().find(|result| result.main)?;
        main.data.get("text/plain")?.as_str()
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Stdout { text } => self.stdout.push_str(text),
            Event::Stderr { text } => self.stderr.push_str(text),
            Event::Result(result) => self.results.push(result.clone()),
            Event::Error(error) => self.error = Some(error.clone()),
        }
    }
}

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Code<'a> {
    /// The text.
    pub code: &'a str,
    /// Variables that are set before.
    pub env: BTreeMap<String, String>,
    /// A directory that is entered before.
    pub cwd: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Instructions that may be executed for it.
    pub instructions: Option<u64>,
}

/// How far a run has come.
pub(crate) struct Progress<'a> {
    pub execution: Execution,
    tell: &'a mut dyn FnMut(&Event),
    left: u64,
}

impl<'a> Progress<'a> {
    pub fn new(output: u64, tell: &'a mut dyn FnMut(&Event)) -> Progress<'a> {
        Progress { execution: Execution::default(), tell, left: output }
    }

    /// Takes an event of so many bytes; whether there was room for it.
    pub fn take(&mut self, event: &Event, bytes: usize) -> bool {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                self.execution.limit.get_or_insert(Limit::Output);
                return false;
            }
        }
        self.execution.take(event);
        (self.tell)(event);
        true
    }

    /// Adds an error of ours, which needs no room.
    pub fn fail(&mut self, name: &str, value: impl Into<String>) {
        let error =
            CodeError { name: name.to_owned(), value: value.into(), traceback: String::new() };
        let event = Event::Error(error);
        self.execution.take(&event);
        (self.tell)(&event);
    }
}

/// A place for an interpreter, which one call at a time may use.
pub(crate) struct Slot {
    pub context: Mutex<Context>,
    pub language: Language,
    /// Where its interpreter waits in the sandbox, if it does.
    pub port: Option<u16>,
    /// Its process in the sandbox while code runs, else 0.
    busy: AtomicU32,
}

impl Slot {
    pub fn new(context: Context) -> Arc<Slot> {
        let (language, port) = match context {
            Context::Waits { language, port, .. } => (language, Some(port)),
            Context::Shell(_) => (Language::Bash, None),
        };
        Arc::new(Slot { context: Mutex::new(context), language, port, busy: AtomicU32::new(0) })
    }

    /// The same in a copy of the sandbox, if it is there.
    pub fn copied(&self) -> Option<Arc<Slot>> {
        let (language, port) = (self.language, self.port?);
        Some(Slot::new(Context::Waits { language, port, driver: None }))
    }

    /// Tells what runs in it to stop, as Ctrl-C does; whether anything ran.
    pub fn interrupt(&self, running: &Running) -> bool {
        let pid = self.busy.load(Ordering::SeqCst);
        pid != 0 && running.attach().kill(pid, false, SIGINT).is_ok()
    }

    /// Runs code in its context, which is held; whether that is still good.
    pub fn run(
        &self,
        context: &mut Context,
        running: &Running,
        code: &Code<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<bool, Error> {
        let result = context.run(running, code, progress, &self.busy);
        self.busy.store(0, Ordering::SeqCst);
        result
    }
}

/// An interpreter that keeps its variables.
pub(crate) enum Context {
    /// It waits at a port.
    Waits { language: Language, port: u16, driver: Option<Driver> },
    /// A shell, as long as its streams stand.
    Shell(Option<Box<Shell>>),
}

impl Context {
    /// Starts one.
    pub fn start(
        language: Language,
        running: &Running,
        env: &BTreeMap<String, String>,
    ) -> Result<Context, Error> {
        let command = match language {
            Language::Python => Command::new("python3").args(["-c", driver::PYTHON, "0"]),
            Language::JavaScript => Command::new("node").args(["-e", driver::NODE, "0"]),
            Language::Bash => return Ok(Context::Shell(None)),
        };
        let command = env.iter().fold(command, |command, (name, value)| command.env(name, value));
        let port = driver::start(running, &command).map_err(|error| missing(language, error))?;
        Ok(Context::Waits { language, port, driver: None })
    }

    /// The Python interpreter of a template.
    pub fn prepared() -> Context {
        let port = driver::PYTHON_PORT;
        Context::Waits { language: Language::Python, port, driver: None }
    }

    /// Connects to it, if that was not done.
    pub fn connect(&mut self, running: &Running, longest: usize) -> Result<(), Error> {
        if let Context::Waits { port, driver: driver @ None, .. } = self {
            let connected = Driver::connect(running, *port, longest);
            *driver = Some(connected.map_err(Error::io("reach the interpreter"))?);
        }
        Ok(())
    }

    /// Runs code; whether the context is still good.
    fn run(
        &mut self,
        running: &Running,
        code: &Code<'_>,
        progress: &mut Progress<'_>,
        busy: &AtomicU32,
    ) -> Result<bool, Error> {
        match self {
            Context::Waits { driver, .. } => {
                let Some(driver) = driver else { return Ok(false) };
                busy.store(driver.pid, Ordering::SeqCst);
                measured(running, driver.pid, Bound::Interrupt, code, progress, |progress| {
                    ask(driver, running, code, progress)
                })
            }
            Context::Shell(shell) => {
                if shell.is_none() {
                    let started = Shell::start(running);
                    *shell =
                        Some(Box::new(started.map_err(|error| missing(Language::Bash, error))?));
                }
                let Some(running_shell) = shell.as_mut() else { return Ok(false) };
                let pid = running_shell.pid();
                busy.store(pid, Ordering::SeqCst);
                let good =
                    measured(running, pid, Bound::InterruptAll, code, progress, |progress| {
                        running_shell.run(running, code, progress)
                    })?;
                if !good {
                    *shell = None;
                }
                Ok(good)
            }
        }
    }
}

/// Has an interpreter do something, and counts its instructions if they have a limit.
fn measured(
    running: &Running,
    pid: u32,
    bound: Bound,
    code: &Code<'_>,
    progress: &mut Progress<'_>,
    work: impl FnOnce(&mut Progress<'_>) -> bool,
) -> Result<bool, Error> {
    let Some(most) = code.instructions else { return Ok(work(progress)) };
    // An interpreter that is gone is found to be so when it is asked to run something.
    let measure = running.attach().measure(pid, most, bound).ok();
    let good = work(progress);
    // Of a box that has ended nothing is known.
    if let Some(measured) = measure.and_then(|measure| measure.end().ok()) {
        progress.execution.instructions = Some(measured.instructions);
        if measured.reached {
            progress.execution.limit.get_or_insert(Limit::Instructions);
        }
    }
    Ok(good)
}

fn missing(language: Language, error: Error) -> Error {
    match error {
        Error::Exec(runtime::ExecError::NotFound(_)) => {
            Error::Language(format!("there is no interpreter of {} in the box", language.name()))
        }
        error => error,
    }
}

/// Has an interpreter run code; whether it is still good.
fn ask(
    driver: &mut Driver,
    running: &Running,
    code: &Code<'_>,
    progress: &mut Progress<'_>,
) -> bool {
    let request = json!({"id": 1, "code": code.code, "env": code.env, "cwd": code.cwd});
    let mut until = Instant::now() + code.timeout;
    let mut told_to_stop = false;
    if driver.say(&request).is_err() {
        return false;
    }
    loop {
        match driver.hear(until) {
            Heard::Gone => return false,
            Heard::Event(event) => {
                if event["type"] == "done" {
                    progress.execution.execution_count = event["count"].as_u64().unwrap_or(0);
                    return true;
                }
                let bytes = event.to_string().len();
                let fits = read(&event).is_none_or(|event| progress.take(&event, bytes));
                if !fits && !told_to_stop {
                    told_to_stop = true;
                    until = Instant::now() + GRACE;
                    let _ = running.attach().kill(driver.pid, false, SIGINT);
                }
            }
            Heard::Late if !told_to_stop => {
                progress.execution.limit.get_or_insert(Limit::Time);
                told_to_stop = true;
                until = Instant::now() + GRACE;
                let _ = running.attach().kill(driver.pid, false, SIGINT);
            }
            Heard::Late => {
                // With all that it has started.
                let _ = running.attach().kill(driver.pid, true, SIGKILL);
                return false;
            }
        }
    }
}

/// What an interpreter says, if it is something that one says.
fn read(event: &Value) -> Option<Event> {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Some(match event["type"].as_str()? {
        "stdout" => Event::Stdout { text: text("text") },
        "stderr" => Event::Stderr { text: text("text") },
        "result" => Event::Result(CodeResult {
            main: event["main"].as_bool().unwrap_or(false),
            data: serde_json::from_value(event["data"].clone()).ok()?,
        }),
        "error" => Event::Error(CodeError {
            name: text("name"),
            value: text("value"),
            traceback: text("traceback"),
        }),
        _ => return None,
    })
}
