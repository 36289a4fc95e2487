//! The protocol: JSON-RPC 2.0, a message on each line.

use super::Config;
use super::tools::{self, Tools};
use crate::running::lock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Versions of the protocol that are spoken, the newest first.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];
/// Bytes of the longest message.
const LONGEST: u64 = 64 << 20;
/// Calls that are carried out at once.
const AT_ONCE: usize = 64;

const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;

/// What goes wrong with a request.
struct Refused(i32, String);

/// The calls that are under way, and whether they were cancelled.
type Calls = Arc<Mutex<BTreeMap<String, Arc<AtomicBool>>>>;

/// Serves a client until its messages end.
///
/// # Errors
/// The streams fail.
pub fn serve(
    config: Config,
    input: impl BufRead,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let host = config.host.clone();
    let mut server = Server {
        version: config.version,
        tools: Arc::new(Tools::new(config)),
        output: Arc::new(Mutex::new(output)),
        calls: Calls::default(),
    };
    let mut input = input;
    let result = loop {
        let mut line = Vec::new();
        match input.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => break Ok(()),
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 >= LONGEST => {
                break Err(io::Error::other("a message is too long"));
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => server.hear(&line)?,
            Err(error) => break Err(error),
        }
    };
    host.kill_all();
    result
}

struct Server<W> {
    version: &'static str,
    tools: Arc<Tools>,
    output: Arc<Mutex<W>>,
    calls: Calls,
}

impl<W: Write + Send + 'static> Server<W> {
    fn hear(&mut self, line: &[u8]) -> io::Result<()> {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            return self
                .answer(&Value::Null, Err(Refused(PARSE_ERROR, "this is no JSON".to_owned())));
        };
        let id = message.get("id").cloned();
        let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
        let Some(method) = message["method"]
            .as_str()
            .filter(|_| message["jsonrpc"] == "2.0" && id.as_ref().is_none_or(is_id))
        else {
            // What answers us is not asked for, and not answered.
            if message.get("result").is_some() || message.get("error").is_some() {
                return Ok(());
            }
            let text = "this is no request of JSON-RPC 2.0".to_owned();
            let id = id.filter(is_id).unwrap_or(Value::Null);
            return self.answer(&id, Err(Refused(INVALID_REQUEST, text)));
        };
        let params = &message["params"];
        let Some(id) = id else {
            if method == "notifications/cancelled" {
                self.cancel(&params["requestId"]);
            }
            return Ok(());
        };
        match method {
            "initialize" => {
                let asked = params["protocolVersion"].as_str().unwrap_or_default();
                let version =
                    VERSIONS.iter().find(|known| **known == asked).unwrap_or(&VERSIONS[0]);
                let result = json!({
                    "protocolVersion": version,
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "boxer", "title": "Boxer sandbox", "version": self.version},
                    "instructions": tools::INSTRUCTIONS,
                });
                self.answer(&id, Ok(result))
            }
            "ping" => self.answer(&id, Ok(json!({}))),
            "tools/list" => self.answer(&id, Ok(json!({"tools": tools::list()}))),
            "tools/call" => self.call(id, params),
            _ => {
                let text = format!("there is no method {method:?}");
                self.answer(&id, Err(Refused(METHOD_NOT_FOUND, text)))
            }
        }
    }

    /// Calls a tool, on a thread of its own.
    fn call(&mut self, id: Value, params: &Value) -> io::Result<()> {
        let refused = |text: String| Err(Refused(INVALID_PARAMS, text));
        let name = params["name"].as_str().unwrap_or_default();
        let Some(tool) = tools::find(name) else {
            return self.answer(&id, refused(format!("there is no tool {name:?}")));
        };
        let arguments = match &params["arguments"] {
            Value::Null => json!({}),
            arguments => arguments.clone(),
        };
        if let Err(why) = tool.check(&arguments) {
            return self.answer(&id, refused(format!("{name}: {why}")));
        }
        let key = id.to_string();
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut calls = lock(&self.calls);
        if calls.contains_key(&key) {
            drop(calls);
            let text = format!("the id {key} is in use");
            return self.answer(&id, Err(Refused(INVALID_REQUEST, text)));
        }
        if calls.len() >= AT_ONCE {
            drop(calls);
            let text = format!("{AT_ONCE} calls are under way already");
            return self.answer(&id, Err(Refused(INVALID_REQUEST, text)));
        }
        calls.insert(key.clone(), cancelled.clone());
        drop(calls);
        let (tools, output, calls) = (self.tools.clone(), self.output.clone(), self.calls.clone());
        let work = move || {
            let result = tools.call(tool, &arguments, &key);
            lock(&calls).remove(&key);
            if !cancelled.load(Ordering::SeqCst) {
                // A client that is gone hears nothing.
                let _ = say(&output, &json!({"jsonrpc": "2.0", "id": id, "result": result}));
            }
        };
        std::thread::Builder::new().name("tool".to_owned()).spawn(work).map(drop)
    }

    /// A call is not waited for any more: it gets no answer, and what runs for it is told to stop.
    fn cancel(&self, id: &Value) {
        let key = id.to_string();
        if let Some(cancelled) = lock(&self.calls).get(&key) {
            cancelled.store(true, Ordering::SeqCst);
            self.tools.cancel(&key);
        }
    }

    fn answer(&self, id: &Value, result: Result<Value, Refused>) -> io::Result<()> {
        let answer = match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(Refused(code, message)) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
            }
        };
        say(&self.output, &answer)
    }
}

fn say(output: &Mutex<impl Write>, message: &Value) -> io::Result<()> {
    let mut line = message.to_string();
    line.push('\n');
    let mut output = lock(output);
    output.write_all(line.as_bytes())?;
    output.flush()
}
