//! The tools: what a model may do in its sandbox.

use super::Config;
use crate::code::{Cancel, Execution, Language};
use crate::commands::{CommandHandle, CommandOptions};
use crate::error::Error;
use crate::limit::Limit;
use crate::policy::seconds;
use crate::running::lock;
use crate::sandbox::{RunCode, Sandbox};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// What a model is told of all of them.
pub const INSTRUCTIONS: &str = "One Linux sandbox. Python keeps its variables from call to call. `fork` remembers where the sandbox is, \
    `restore` goes back there: files, variables and processes.";
/// Bytes of a text that a model is given.
const MOST_TEXT: usize = 256 << 10;
/// Seconds, unless a call says otherwise, and the most that it may say.
const TIMEOUT: f64 = 60.0;
const MOST_TIME: f64 = 3600.0;
/// States that are remembered.
const FORKS: usize = 32;

/// A parameter: its name, its JSON type, whether it must be there, and what it is.
type Parameter = (&'static str, &'static str, bool, &'static str);

/// A tool.
#[derive(Debug)]
pub struct Tool {
    name: &'static str,
    description: &'static str,
    parameters: &'static [Parameter],
    /// It changes nothing.
    reads: bool,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "run_code",
        description: "Run code in an interpreter that keeps its variables between calls. Gives the value of the last expression, what was \
            printed, errors with their traceback, and figures of matplotlib as pictures.",
        parameters: &[
            ("code", "string", true, "The code"),
            ("language", "string", false, "python (the default), javascript or bash"),
            ("timeout", "number", false, "Seconds it may take (60)"),
        ],
        reads: false,
    },
    Tool {
        name: "run_command",
        description: "Run a command line in the shell of the sandbox. Gives its output and its exit status.",
        parameters: &[
            ("command", "string", true, "The command line"),
            ("cwd", "string", false, "The directory to run it in"),
            ("timeout", "number", false, "Seconds it may take (60)"),
        ],
        reads: false,
    },
    Tool {
        name: "read_file",
        description: "Read a file of the sandbox.",
        parameters: &[("path", "string", true, "Its absolute path")],
        reads: true,
    },
    Tool {
        name: "write_file",
        description: "Write a file of the sandbox; directories above it are made.",
        parameters: &[
            ("path", "string", true, "Its absolute path"),
            ("content", "string", true, "Its whole content"),
        ],
        reads: false,
    },
    Tool {
        name: "list_files",
        description: "List a directory of the sandbox.",
        parameters: &[
            ("path", "string", true, "Its absolute path"),
            ("depth", "integer", false, "Levels of directories, from 1 (the default) to 10"),
        ],
        reads: true,
    },
    Tool {
        name: "list_ports",
        description: "List the TCP ports at which servers listen in the sandbox.",
        parameters: &[],
        reads: true,
    },
    Tool {
        name: "fork",
        description: "Remember the sandbox as it is now: files, variables, processes. Gives a name for restore.",
        parameters: &[],
        reads: false,
    },
    Tool {
        name: "restore",
        description: "Let the sandbox be as it was when fork gave this name. May be done many times.",
        parameters: &[("fork", "string", true, "The name that fork gave")],
        reads: false,
    },
];

/// All, as clients read it.
pub fn list() -> Vec<Value> {
    TOOLS.iter().map(Tool::described).collect()
}

/// The tool of this name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    fn described(&self) -> Value {
        let property = |(name, kind, _, what): &Parameter| {
            ((*name).to_owned(), json!({"type": kind, "description": what}))
        };
        let properties: serde_json::Map<_, _> = self.parameters.iter().map(property).collect();
        let required: Vec<_> = self.parameters.iter().filter(|p| p.2).map(|p| p.0).collect();
        json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            },
            "annotations": {"readOnlyHint": self.reads, "openWorldHint": false},
        })
    }

    /// Whether arguments are as the schema says.
    pub fn check(&self, arguments: &Value) -> Result<(), String> {
        let given = arguments.as_object().ok_or("the arguments are no object")?;
        for (name, value) in given {
            let known = self.parameters.iter().find(|parameter| parameter.0 == name);
            let (_, kind, ..) = known.ok_or_else(|| format!("there is no parameter {name:?}"))?;
            let fits = match *kind {
                "string" => value.is_string(),
                "number" => value.is_number(),
                _ => value.is_u64(),
            };
            if !fits {
                return Err(format!("{name} is no {kind}"));
            }
        }
        match self.parameters.iter().find(|p| p.2 && !given.contains_key(p.0)) {
            Some((name, ..)) => Err(format!("{name} is missing")),
            None => Ok(()),
        }
    }
}

/// The sandbox of a server, and what it remembers.
pub struct Tools {
    config: Config,
    current: Mutex<Option<Sandbox>>,
    forks: Mutex<BTreeMap<String, Sandbox>>,
    /// What runs, by the call that it runs for.
    running: Mutex<BTreeMap<String, Runs>>,
}

enum Runs {
    Code(Cancel),
    Command(CommandHandle),
}

/// What a tool gives.
enum Given {
    Content(Vec<Value>, bool),
    Text(String),
}

impl Tools {
    pub fn new(config: Config) -> Tools {
        let (current, forks, running) = (Mutex::default(), Mutex::default(), Mutex::default());
        Tools { config, current, forks, running }
    }

    /// The sandbox; a new one if there is none, or it has ended.
    fn sandbox(&self) -> Result<Sandbox, Error> {
        let mut current = lock(&self.current);
        if let Some(sandbox) = current.take() {
            if !sandbox.has_ended() {
                *current = Some(sandbox.clone());
                return Ok(sandbox);
            }
            // The model is to know that what it has made is gone.
            let why = sandbox.info().reason.unwrap_or_default();
            sandbox.kill();
            return Err(Error::Ended(format!("{why}; the next call gets a new one")));
        }
        let Config { host, template, policy, .. } = &self.config;
        let sandbox = host.create(template, policy.clone(), BTreeMap::new())?;
        *current = Some(sandbox.clone());
        Ok(sandbox)
    }

    /// Calls a tool; its result, as the protocol has it. Errors are for the model to read.
    pub fn call(&self, tool: &Tool, arguments: &Value, key: &str) -> Value {
        let given = self.carry_out(tool, arguments, key);
        lock(&self.running).remove(key);
        let text = |text: String| json!({"type": "text", "text": bounded(text)});
        match given {
            Ok(Given::Text(said)) => json!({"content": [text(said)], "isError": false}),
            Ok(Given::Content(content, failed)) => json!({"content": content, "isError": failed}),
            Err(error) => json!({"content": [text(error.to_string())], "isError": true}),
        }
    }

    /// Ends the sandbox, and forgets what it was.
    pub fn end(&self) {
        let forks = std::mem::take(&mut *lock(&self.forks));
        let current = lock(&self.current).take();
        for sandbox in forks.into_values().chain(current) {
            sandbox.kill();
        }
    }

    /// Tells what runs for a call to stop.
    pub fn cancel(&self, key: &str) {
        match lock(&self.running).get(key) {
            Some(Runs::Code(cancel)) => cancel.cancel(),
            Some(Runs::Command(command)) => {
                command.kill();
            }
            None => {}
        }
    }

    fn carry_out(&self, tool: &Tool, arguments: &Value, key: &str) -> Result<Given, Error> {
        let text = |name: &str| arguments[name].as_str().unwrap_or_default();
        let timeout = match arguments["timeout"].as_f64() {
            Some(time) => seconds("timeout", time.min(MOST_TIME))?,
            None => Duration::from_secs_f64(TIMEOUT),
        };
        let sandbox = self.sandbox()?;
        match tool.name {
            "run_code" => {
                let language = Language::parse(text("language"))?;
                let cancel = Cancel::default();
                lock(&self.running).insert(key.to_owned(), Runs::Code(cancel.clone()));
                let how = RunCode {
                    language: Some(language),
                    cancel,
                    timeout: Some(timeout),
                    ..RunCode::default()
                };
                let execution = sandbox.run_code(text("code"), &how, &mut |_| {})?;
                Ok(Given::Content(shown(&execution), execution.error.is_some()))
            }
            "run_command" => {
                let cwd = arguments["cwd"].as_str().map(str::to_owned);
                let options = CommandOptions { cwd, ..CommandOptions::default() };
                let command = sandbox.start_command(text("command"), &options)?;
                lock(&self.running).insert(key.to_owned(), Runs::Command(command.clone()));
                let result = command.wait(Some(timeout), &mut |_| {});
                let mut parts = vec![("stdout", result.stdout), ("stderr", result.stderr)];
                parts.retain(|(_, text)| !text.is_empty());
                parts.push(("exit status", result.exit_code.to_string()));
                parts.extend(result.limit.map(|limit| ("limit", reached(limit).to_owned())));
                parts.extend(result.error.map(|error| ("error", error)));
                let failed = result.exit_code != 0;
                Ok(Given::Content(named(parts), failed))
            }
            "read_file" => {
                let bytes = sandbox.files(None)?.read(text("path"))?;
                Ok(match String::from_utf8(bytes) {
                    Ok(said) => Given::Text(said),
                    Err(error) => {
                        let blob = STANDARD.encode(error.as_bytes());
                        let uri = format!("file://{}", text("path"));
                        let kind = "application/octet-stream";
                        let resource = json!({"uri": uri, "mimeType": kind, "blob": blob});
                        Given::Content(
                            vec![json!({"type": "resource", "resource": resource})],
                            false,
                        )
                    }
                })
            }
            "write_file" => {
                let info = sandbox.files(None)?.write(text("path"), text("content").as_bytes())?;
                Ok(Given::Text(format!("{} bytes written to {}", info.size, info.path)))
            }
            "list_files" => {
                const DEEPEST: u64 = 10;
                let depth = arguments["depth"].as_u64().unwrap_or(1).clamp(1, DEEPEST) as usize;
                let entries = sandbox.files(None)?.list(text("path"), depth)?;
                Ok(Given::Text(serde_json::to_string(&entries).unwrap_or_default()))
            }
            "list_ports" => Ok(Given::Text(json!(sandbox.list_ports()?).to_string())),
            "fork" => self.fork(&sandbox),
            _ => self.restore(text("fork")),
        }
    }

    fn fork(&self, sandbox: &Sandbox) -> Result<Given, Error> {
        if lock(&self.forks).len() >= FORKS {
            return Err(Error::Invalid(format!("{FORKS} states are remembered already")));
        }
        let copy = self
            .config
            .host
            .fork(sandbox, 1)?
            .pop()
            .ok_or_else(|| Error::NotFound("copy".to_owned()))?;
        // It does nothing until it is asked for, and does not age.
        copy.pause()?;
        copy.set_timeout(f64::from(u32::MAX))?;
        let name = copy.id().to_owned();
        lock(&self.forks).insert(name.clone(), copy);
        Ok(Given::Text(name))
    }

    fn restore(&self, name: &str) -> Result<Given, Error> {
        let known = lock(&self.forks).get(name).cloned();
        let state = known.ok_or_else(|| Error::NotFound(format!("fork {name:?}")))?;
        let copy = self
            .config
            .host
            .fork(&state, 1)?
            .pop()
            .ok_or_else(|| Error::NotFound("copy".to_owned()))?;
        if let Some(before) = lock(&self.current).replace(copy) {
            before.kill();
        }
        Ok(Given::Text(format!("the sandbox is as it was at fork {name}")))
    }
}

/// What came of code, as content.
fn shown(execution: &Execution) -> Vec<Value> {
    let mut parts = Vec::new();
    for (name, text) in [("stdout", &execution.stdout), ("stderr", &execution.stderr)] {
        if !text.is_empty() {
            parts.push((name, text.clone()));
        }
    }
    let texts = execution.results.iter().filter(|r| !r.data.contains_key("image/png"));
    let plain = texts.filter_map(|result| result.data.get("text/plain")?.as_str());
    parts.extend(plain.map(|text| ("result", text.to_owned())));
    if let Some(error) = &execution.error {
        let text = match error.traceback.is_empty() {
            true => format!("{}: {}", error.name, error.value),
            false => error.traceback.clone(),
        };
        parts.push(("error", text));
    }
    parts.extend(execution.limit.map(|limit| ("limit", reached(limit).to_owned())));
    let mut content = named(parts);
    for result in &execution.results {
        if let Some(picture) = result.data.get("image/png") {
            content.push(json!({"type": "image", "data": picture, "mimeType": "image/png"}));
        }
    }
    content
}

/// Texts under their names; one without an output says so.
fn named(parts: Vec<(&str, String)>) -> Vec<Value> {
    let mut parts = parts;
    if parts.is_empty() {
        parts.push(("result", "nothing was put out".to_owned()));
    }
    let text = |(name, text): (&str, String)| json!({"type": "text", "text": format!("{name}: {}", bounded(text))});
    parts.into_iter().map(text).collect()
}

fn reached(limit: Limit) -> &'static str {
    match limit {
        Limit::Time => "the time was over, and it was stopped",
        Limit::Output => "it put out too much, and was stopped; the rest is lost",
        Limit::Instructions => "it executed too many instructions, and was stopped",
    }
}

/// A text that is not too long for a model.
fn bounded(text: String) -> String {
    if text.len() <= MOST_TEXT {
        return text;
    }
    let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}… ({} bytes in all)", text.get(..end).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    use super::{TOOLS, bounded, find};
    use serde_json::json;

    #[test]
    fn arguments_are_as_the_schema_says() {
        let Some(run) = find("run_code") else { panic!("there is no run_code") };
        assert!(run.check(&json!({"code": "1", "timeout": 1.5})).is_ok());
        for bad in [
            json!({}),
            json!({"code": 1}),
            json!({"code": "1", "network": "host"}),
            json!({"code": "1", "timeout": "x"}),
            json!([]),
        ] {
            assert!(run.check(&bad).is_err(), "{bad}");
        }
        assert!(TOOLS.iter().all(|tool| !tool.description.is_empty()));
        assert!(bounded("é".repeat(200 << 10)).len() < 257 << 10);
    }
}
