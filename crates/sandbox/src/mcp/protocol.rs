//! The protocol: JSON-RPC 2.0. What a message asks for, whatever brought it.

use super::Config;
use super::tools::{self, Tool, Tools};
use crate::running::lock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Versions of the protocol that are spoken, the newest first.
pub const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];
/// Calls that are carried out at once.
const AT_ONCE: usize = 64;

const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;
const INTERNAL_ERROR: i32 = -32_603;

/// What goes wrong with a request.
struct Refused(i32, String);

/// The calls that are under way, by their ids, and where it is told how they end: none when they were cancelled.
type Calls = Arc<Mutex<BTreeMap<String, SyncSender<Option<Value>>>>>;

/// One client's end of the protocol, with a sandbox of its own.
pub struct Protocol {
    version: &'static str,
    tools: Arc<Tools>,
    calls: Calls,
}

/// What comes of a message.
pub enum Heard {
    /// Nothing is to be answered.
    Nothing,
    /// This is.
    Answer(Value),
    /// A tool is at work, whose answer comes.
    Call(Call),
}

/// A call that is under way.
pub struct Call(Receiver<Option<Value>>);

/// How a call goes.
pub enum Waited {
    /// It is answered with this.
    Answer(Value),
    /// It is not answered: it was cancelled.
    Cancelled,
    /// It goes on.
    GoesOn,
}

impl Call {
    /// Waits for its end so long.
    pub fn wait(&self, longest: Duration) -> Waited {
        match self.0.recv_timeout(longest) {
            Ok(Some(answer)) => Waited::Answer(answer),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => Waited::Cancelled,
            Err(RecvTimeoutError::Timeout) => Waited::GoesOn,
        }
    }
}

impl Protocol {
    pub fn new(config: &Config) -> Protocol {
        let (version, tools) = (config.version, Arc::new(Tools::new(config.clone())));
        Protocol { version, tools, calls: Calls::default() }
    }

    /// Ends what the client had.
    pub fn end(&self) {
        self.tools.end();
    }

    /// Whether a message asks for a session to begin.
    pub fn begins(message: &[u8]) -> bool {
        let read = serde_json::from_slice::<Value>(message).unwrap_or_default();
        read["method"] == "initialize" && read.get("id").is_some()
    }

    /// Takes a message.
    pub fn hear(&self, message: &[u8]) -> Heard {
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return refused(&Value::Null, PARSE_ERROR, "this is no JSON");
        };
        let id = message.get("id").cloned();
        let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
        let Some(method) = message["method"]
            .as_str()
            .filter(|_| message["jsonrpc"] == "2.0" && id.as_ref().is_none_or(is_id))
        else {
            // What answers us is not asked for, and not answered.
            if message.get("result").is_some() || message.get("error").is_some() {
                return Heard::Nothing;
            }
            let id = id.filter(is_id).unwrap_or(Value::Null);
            return refused(&id, INVALID_REQUEST, "this is no request of JSON-RPC 2.0");
        };
        let params = &message["params"];
        let Some(id) = id else {
            if method == "notifications/cancelled" {
                self.cancel(&params["requestId"]);
            }
            return Heard::Nothing;
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
                Heard::Answer(answered(&id, &result))
            }
            "ping" => Heard::Answer(answered(&id, &json!({}))),
            "tools/list" => Heard::Answer(answered(&id, &json!({"tools": tools::list()}))),
            "tools/call" => match self.call(&id, params) {
                Ok(call) => Heard::Call(call),
                Err(Refused(code, why)) => refused(&id, code, &why),
            },
            _ => refused(&id, METHOD_NOT_FOUND, &format!("there is no method {method:?}")),
        }
    }

    /// Calls a tool, on a thread of its own.
    fn call(&self, id: &Value, params: &Value) -> Result<Call, Refused> {
        let name = params["name"].as_str().unwrap_or_default();
        let tool: &'static Tool = tools::find(name)
            .ok_or_else(|| Refused(INVALID_PARAMS, format!("there is no tool {name:?}")))?;
        let arguments = match &params["arguments"] {
            Value::Null => json!({}),
            arguments => arguments.clone(),
        };
        tool.check(&arguments).map_err(|why| Refused(INVALID_PARAMS, format!("{name}: {why}")))?;
        let key = id.to_string();
        // For the answer, or for word that it was cancelled, whichever is first: the other finds no room, or nobody.
        let (tell, told) = sync_channel(1);
        let mut calls = lock(&self.calls);
        if calls.contains_key(&key) {
            return Err(Refused(INVALID_REQUEST, format!("the id {key} is in use")));
        }
        if calls.len() >= AT_ONCE {
            let text = format!("{AT_ONCE} calls are under way already");
            return Err(Refused(INVALID_REQUEST, text));
        }
        calls.insert(key.clone(), tell.clone());
        drop(calls);
        let (tools, calls, id) = (self.tools.clone(), self.calls.clone(), id.clone());
        let (mine, of) = (key.clone(), self.calls.clone());
        let work = move || {
            let result = tools.call(tool, &arguments, &key);
            lock(&calls).remove(&key);
            // Nobody may be there any more.
            let _ = tell.try_send(Some(answered(&id, &result)));
        };
        let spawned = std::thread::Builder::new().name("tool".to_owned()).spawn(work);
        if let Err(error) = spawned {
            lock(&of).remove(&mine);
            return Err(Refused(INTERNAL_ERROR, format!("no thread is to be had: {error}")));
        }
        Ok(Call(told))
    }

    /// A call is not waited for any more: it gets no answer, and what runs for it is told to stop.
    fn cancel(&self, id: &Value) {
        let key = id.to_string();
        let known = lock(&self.calls).get(&key).cloned();
        if let Some(tell) = known {
            // It may have ended just now.
            let _ = tell.try_send(None);
            self.tools.cancel(&key);
        }
    }
}

fn answered(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn refused(id: &Value, code: i32, message: &str) -> Heard {
    let error = json!({"code": code, "message": message});
    Heard::Answer(json!({"jsonrpc": "2.0", "id": id, "error": error}))
}
