//! What each request does.

use crate::code::{Cancel, Event, Language};
use crate::commands::{CommandHandle, CommandOptions, CommandOutput};
use crate::error::Error;
use crate::export::{Format, Scope};
use crate::host::Host;
use crate::http::Serves;
use crate::http::body::{Answer, Lines};
use crate::http::query::Query;
use crate::id;
use crate::policy::{Policy, seconds};
use crate::sandbox::{RunCode, Sandbox};
use crate::template::Template;
use hyper::Method;
use hyper::http::request::Parts;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Seek as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The description of all of this.
pub const OPENAPI: &str = include_str!("openapi.json");
/// Levels of directories that are listed at once.
const DEPTH: usize = 32;
/// How long a watch waits for something before it sends an empty line, by which a client that is gone is noticed.
const PULSE: Duration = Duration::from_secs(10);

/// What is served.
pub struct Service {
    /// All sandboxes.
    pub host: Host,
    /// Where they start.
    pub template: Template,
    /// What each gets unless it asks for less, and the most that it gets.
    pub most: Policy,
    /// Who knows it may do everything here.
    pub token: String,
    /// Where snapshots are kept.
    pub snapshots: PathBuf,
    /// How many sandboxes there may be.
    pub max_sandboxes: usize,
    /// How many were made.
    pub created: AtomicU64,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Create {
    /// Fields of a policy, in place of those of the service.
    policy: serde_json::Map<String, Value>,
    metadata: BTreeMap<String, String>,
    snapshot: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RunRequest {
    code: String,
    language: Option<String>,
    context: Option<String>,
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    timeout: Option<f64>,
    instructions: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CommandRequest {
    command: String,
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    user: Option<String>,
    stdin: bool,
    background: bool,
    timeout: Option<f64>,
    instructions: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seconds {
    timeout: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    count: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InLanguage {
    language: String,
}

impl Serves for Service {
    fn host(&self) -> &Host {
        &self.host
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        let (method, path) = (&head.method, head.uri.path());
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let answer = match (method.as_str(), words.as_slice()) {
            ("GET", ["health"]) => Ok(Answer::json(200, &json!({"status": "ok"}))),
            ("GET", ["openapi.json"]) => {
                Ok(Answer::bytes("application/json", OPENAPI.as_bytes().to_vec()))
            }
            ("GET", ["metrics"]) => Ok(self.metrics()),
            ("GET", ["sandboxes"]) => {
                let all: Vec<_> = self.host.list().iter().map(Sandbox::info).collect();
                Ok(Answer::json(200, &all))
            }
            ("POST", ["sandboxes"]) => self.create(body),
            (method, ["sandboxes", id, rest @ ..]) => self
                .host
                .get(id)
                .and_then(|sandbox| self.on_sandbox(method, &sandbox, rest, &query, body)),
            _ => Err(unknown(method, path)),
        };
        answer.unwrap_or_else(|error| Answer::error(&error))
    }
}

impl Service {
    fn create(&self, body: &[u8]) -> Result<Answer, Error> {
        let Create { policy: fields, metadata, snapshot } = read(body)?;
        let mut policy = serde_json::to_value(&self.most).map_err(invalid)?;
        if let Value::Object(policy) = &mut policy {
            policy.extend(fields);
        }
        let policy: Policy = serde_json::from_value(policy).map_err(invalid)?;
        policy.check_within(&self.most)?;
        if self.host.list().iter().filter(|sandbox| !sandbox.has_ended()).count()
            >= self.max_sandboxes
        {
            let text = format!("there are {} sandboxes already", self.max_sandboxes);
            return Err(Error::Refused(text));
        }
        let sandbox = match snapshot {
            None => self.host.create(&self.template, policy, metadata)?,
            Some(name) => {
                let template = self.host.resume(&self.snapshot_file(&name)?)?;
                self.host.create(&template, policy, metadata)?
            }
        };
        self.created.fetch_add(1, Ordering::Relaxed);
        Ok(Answer::json(201, &sandbox.info()))
    }

    /// The file of a snapshot, whose name is one of ours.
    fn snapshot_file(&self, name: &str) -> Result<PathBuf, Error> {
        let file = self.snapshots.join(format!("{name}.wasm"));
        match name.chars().all(|c| c.is_ascii_hexdigit()) && file.is_file() {
            true => Ok(file),
            false => Err(Error::NotFound(format!("snapshot {name:?}"))),
        }
    }

    fn on_sandbox(
        &self,
        method: &str,
        sandbox: &Sandbox,
        rest: &[&str],
        query: &Query,
        body: &[u8],
    ) -> Result<Answer, Error> {
        match (method, rest) {
            ("GET", []) => Ok(Answer::json(200, &sandbox.info())),
            ("DELETE", []) => Ok(Answer::json(200, &json!({"killed": sandbox.kill()}))),
            ("POST", ["timeout"]) => {
                sandbox.set_timeout(read::<Seconds>(body)?.timeout)?;
                Ok(Answer::nothing())
            }
            ("POST", ["pause"]) => sandbox.pause().map(|()| Answer::nothing()),
            ("POST", ["resume"]) => sandbox.resume().map(|()| Answer::nothing()),
            ("POST", ["fork"]) => {
                let copies = self.host.fork(sandbox, read::<Count>(body)?.count)?;
                self.created.fetch_add(copies.len() as u64, Ordering::Relaxed);
                Ok(Answer::json(201, &copies.iter().map(Sandbox::info).collect::<Vec<_>>()))
            }
            ("POST", ["snapshot"]) => {
                let made = std::fs::create_dir_all(&self.snapshots);
                made.map_err(Error::io("make the directory of snapshots"))?;
                let name = id::new()?;
                sandbox.snapshot(&self.snapshots.join(format!("{name}.wasm")))?;
                Ok(Answer::json(201, &json!({"snapshot": name})))
            }
            ("POST", ["code"]) => code(sandbox, read(body)?),
            ("POST", ["interrupt"]) => Ok(Answer::json(
                200,
                &json!({"interrupted": sandbox.interrupt(query.get("context"))?}),
            )),
            ("POST", ["contexts"]) => {
                let language = Language::parse(&read::<InLanguage>(body)?.language)?;
                Ok(Answer::json(201, &json!({"context": sandbox.create_context(language)?})))
            }
            (method, ["commands", rest @ ..]) => commands(method, sandbox, rest, query, body),
            ("GET", ["usage"]) => Ok(Answer::json(200, &sandbox.usage()?)),
            ("GET", ["diff"]) => Ok(Answer::json(200, &sandbox.diff()?)),
            ("GET", ["export"]) => export(sandbox, query),
            ("GET", ["audit"]) => {
                let mut text = sandbox.audit().lines().join("\n");
                text.push('\n');
                Ok(Answer::bytes("application/x-ndjson", text.into_bytes()))
            }
            ("GET", ["ports"]) => Ok(Answer::json(200, &sandbox.list_ports()?)),
            ("POST", ["ports", port]) => {
                let port: u16 = port.parse().map_err(|_| invalid("it is no port"))?;
                Ok(Answer::json(200, &json!({"url": sandbox.get_url(port)?})))
            }
            (method, rest) => files(method, sandbox, rest, query, body),
        }
    }

    /// In the text format of Prometheus.
    fn metrics(&self) -> Answer {
        let live = self.host.list().iter().filter(|sandbox| !sandbox.has_ended()).count();
        let text = format!(
            "# HELP boxer_sandboxes Sandboxes that have not ended.\n\
             # TYPE boxer_sandboxes gauge\n\
             boxer_sandboxes {live}\n\
             # HELP boxer_sandboxes_created_total Sandboxes that were made.\n\
             # TYPE boxer_sandboxes_created_total counter\n\
             boxer_sandboxes_created_total {}\n",
            self.created.load(Ordering::Relaxed)
        );
        Answer::bytes("text/plain; version=0.0.4", text.into_bytes())
    }
}

/// The files of a sandbox. The archive is whole before the answer begins, so that its digest stands before it and an error is one.
fn export(sandbox: &Sandbox, query: &Query) -> Result<Answer, Error> {
    let word = |name: &str, usual: &str| {
        let text = query.get(name).unwrap_or(usual);
        Value::String(text.to_owned())
    };
    let scope: Scope = serde_json::from_value(word("what", "changes")).map_err(invalid)?;
    let format: Format = serde_json::from_value(word("format", "tar")).map_err(invalid)?;
    let failed = || Error::io("keep the archive");
    let mut file = tempfile::tempfile().map_err(failed())?;
    let exported = sandbox.export(scope, format, &mut file)?;
    file.rewind().map_err(failed())?;
    let kind = match format {
        Format::Tar => "application/x-tar",
        Format::Layer => "application/vnd.oci.image.layer.v1.tar+gzip",
    };
    let headers = vec![
        ("content-length", exported.size.to_string()),
        ("boxer-digest", exported.digest),
        ("boxer-diff-id", exported.diff_id),
        ("boxer-entries", exported.entries.to_string()),
    ];
    Ok(Answer::file(kind, headers, file))
}

fn code(sandbox: &Sandbox, request: RunRequest) -> Result<Answer, Error> {
    let RunRequest { code, language, context, env, cwd, timeout, instructions } = request;
    let how = RunCode {
        language: language.as_deref().map(Language::parse).transpose()?,
        context,
        env,
        cwd,
        timeout: timeout.map(|timeout| seconds("timeout", timeout)).transpose()?,
        instructions: at_least_one(instructions)?,
        cancel: Cancel::default(),
    };
    let (sandbox, cancel) = (sandbox.clone(), how.cancel.clone());
    let work = move |lines: &Lines| {
        let execution = sandbox.run_code(&code, &how, &mut |event: &Event| lines.say(event))?;
        lines.say(&json!({
            "type": "end",
            "execution_count": execution.execution_count,
            "limit": execution.limit,
            "instructions": execution.instructions,
        }));
        Ok(())
    };
    Ok(Answer::lines(work, move || cancel.cancel()))
}

fn commands(
    method: &str,
    sandbox: &Sandbox,
    rest: &[&str],
    query: &Query,
    body: &[u8],
) -> Result<Answer, Error> {
    let of = |pid: &str| {
        let pid = pid.parse().map_err(|_| invalid("it is no process id"))?;
        sandbox.command(pid)
    };
    match (method, rest) {
        ("GET", []) => {
            let about = |command: &CommandHandle| {
                let (pid, line) = (command.pid(), command.command());
                json!({"pid": pid, "command": line, "running": command.is_running()})
            };
            Ok(Answer::json(200, &sandbox.commands().iter().map(about).collect::<Vec<_>>()))
        }
        ("POST", []) => {
            let request: CommandRequest = read(body)?;
            let CommandRequest {
                command,
                env,
                cwd,
                user,
                stdin,
                background,
                timeout,
                instructions,
            } = request;
            let instructions = at_least_one(instructions)?;
            let timeout = timeout.map(|timeout| seconds("timeout", timeout)).transpose()?;
            let options = CommandOptions { env, cwd, user, stdin, instructions };
            let handle = sandbox.start_command(&command, &options)?;
            if background {
                return Ok(Answer::json(201, &json!({"pid": handle.pid()})));
            }
            const LONG: Duration = Duration::from_secs(60);
            let (sandbox, timeout) = (sandbox.clone(), timeout.unwrap_or(LONG));
            // Nobody but this client waits for it.
            let unheard = handle.clone();
            let gone = move || {
                unheard.kill();
            };
            Ok(Answer::lines(move |lines| tell(&sandbox, &handle, Some(timeout), lines), gone))
        }
        ("GET", [pid]) => {
            let handle = of(pid)?;
            let timeout = query.get("timeout").map(|text| text.parse().map_err(invalid));
            let timeout = timeout.transpose()?.map(|time| seconds("timeout", time)).transpose()?;
            let sandbox = sandbox.clone();
            Ok(Answer::lines(move |lines| tell(&sandbox, &handle, timeout, lines), || ()))
        }
        ("DELETE", [pid]) => Ok(Answer::json(200, &json!({"killed": of(pid)?.kill()}))),
        ("POST", [pid, "stdin"]) => {
            of(pid)?.send_stdin(body)?;
            Ok(Answer::nothing())
        }
        ("DELETE", [pid, "stdin"]) => {
            of(pid)?.close_stdin();
            Ok(Answer::nothing())
        }
        _ => Err(unknown_path(method)),
    }
}

/// Tells what a command puts out, from its beginning, and how it ends.
fn tell(
    sandbox: &Sandbox,
    handle: &CommandHandle,
    timeout: Option<Duration>,
    lines: &Lines,
) -> Result<(), Error> {
    lines.say(&json!({"type": "start", "pid": handle.pid()}));
    let result = handle.wait(timeout, &mut |output| {
        let (stream, bytes) = match output {
            CommandOutput::Stdout(bytes) => ("stdout", bytes),
            CommandOutput::Stderr(bytes) => ("stderr", bytes),
        };
        lines.say(&json!({"type": stream, "text": String::from_utf8_lossy(bytes)}));
    });
    if let Some(why) = &result.error {
        return Err(sandbox.gone(why));
    }
    lines.say(&json!({
        "type": "end",
        "exit_code": result.exit_code,
        "limit": result.limit,
        "instructions": result.instructions,
    }));
    Ok(())
}

fn files(
    method: &str,
    sandbox: &Sandbox,
    rest: &[&str],
    query: &Query,
    body: &[u8],
) -> Result<Answer, Error> {
    let files = sandbox.files(query.get("user"))?;
    match (method, rest) {
        ("GET", ["files"]) => {
            Ok(Answer::bytes("application/octet-stream", files.read(query.need("path")?)?))
        }
        ("PUT", ["files"]) => Ok(Answer::json(200, &files.write(query.need("path")?, body)?)),
        ("DELETE", ["files"]) => {
            files.remove(query.need("path")?)?;
            Ok(Answer::nothing())
        }
        ("GET", ["files", "list"]) => {
            let depth = query.get("depth").unwrap_or("1").parse().map_err(invalid)?;
            if !(1..=DEPTH).contains(&depth) {
                return Err(invalid(format!("depth: {depth} is not from 1 to {DEPTH}")));
            }
            Ok(Answer::json(200, &files.list(query.need("path")?, depth)?))
        }
        ("GET", ["files", "info"]) => Ok(Answer::json(200, &files.get_info(query.need("path")?)?)),
        ("POST", ["files", "rename"]) => {
            let Rename { from, to } = read(body)?;
            Ok(Answer::json(200, &files.rename(&from, &to)?))
        }
        ("POST", ["files", "make_dir"]) => {
            Ok(Answer::json(200, &json!({"made": files.make_dir(query.need("path")?)?})))
        }
        ("GET", ["files", "watch"]) => {
            let recursive = query.get("recursive").is_some_and(|text| text == "true");
            let watcher = files.watch_dir(query.need("path")?, recursive)?;
            let sandbox = sandbox.clone();
            let work = move |lines: &Lines| {
                lines.say(&json!({"type": "start"}));
                while !sandbox.has_ended() && !lines.is_closed() {
                    match watcher.next(PULSE) {
                        Some(event) => lines.say(&event),
                        None => lines.say(&json!({"type": "pulse"})),
                    }
                }
                Ok(())
            };
            // It looks whether the client is gone.
            Ok(Answer::lines(work, || ()))
        }
        _ => Err(unknown_path(method)),
    }
}

/// The JSON of a body; an empty one is an object without fields.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(invalid)
}

/// A limit that leaves something to run with.
fn at_least_one(instructions: Option<u64>) -> Result<Option<u64>, Error> {
    match instructions {
        Some(0) => Err(invalid("instructions: with 0 nothing runs")),
        some => Ok(some),
    }
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::Invalid(why.to_string())
}

fn unknown(method: &Method, path: &str) -> Error {
    Error::NotFound(format!("{method} {path}"))
}

fn unknown_path(method: &str) -> Error {
    Error::NotFound(format!("{method} of this path"))
}
