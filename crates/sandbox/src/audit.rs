//! What was done in a sandbox and what was refused, as lines of JSON with stable names (`docs/sandbox.md`).

use crate::running::lock;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Lines that a sandbox keeps; older ones are dropped.
const KEPT: usize = 10_000;
/// Characters of a text in a line.
const TEXT: usize = 4 << 10;

/// Told of each line.
pub type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// The trail of one sandbox. Clones are the same.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    id: String,
    sink: Option<Sink>,
    lines: Mutex<VecDeque<String>>,
}

impl Audit {
    pub(crate) fn new(id: &str, sink: Option<Sink>) -> Audit {
        Audit(Arc::new(Inner { id: id.to_owned(), sink, lines: Mutex::default() }))
    }

    /// Adds a line with these fields, an object.
    pub(crate) fn record(&self, event: &str, fields: Value) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        line.insert("time".to_owned(), json!(now.as_secs_f64()));
        line.insert("sandbox".to_owned(), json!(self.0.id));
        line.insert("event".to_owned(), json!(event));
        if let Value::Object(fields) = fields {
            line.extend(fields.into_iter().map(|(name, value)| (name, short(value))));
        }
        let line = Value::Object(line).to_string();
        if let Some(sink) = &self.0.sink {
            sink(&line);
        }
        let mut lines = lock(&self.0.lines);
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines, the oldest first.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0.lines).iter().cloned().collect()
    }
}

/// A text that is not too long for a line.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT => {
            let begin: String = text.chars().take(TEXT).collect();
            Value::String(format!("{begin}… ({} bytes)", text.len()))
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::Audit;
    use serde_json::{Value, json};

    #[test]
    fn lines_are_json_whatever_is_in_them() {
        let audit = Audit::new("a", None);
        audit.record("command.started", json!({"command": "printf '\u{1b}[2J\n\"'", "pid": 7}));
        audit.record("code.started", json!({"code": "x".repeat(100_000)}));
        let lines = audit.lines();
        assert_eq!(lines.len(), 2);
        for line in &lines {
            assert!(!line.contains('\n') && !line.contains('\u{1b}') && line.len() < 5_000);
            let read: Value = serde_json::from_str(line).unwrap_or_default();
            assert_eq!(read["sandbox"], "a");
        }
    }
}
