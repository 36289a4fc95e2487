//! What was done in a sandbox and what was refused, as lines of JSON with stable names (`docs/sandbox.md`).

use crate::running::lock;
use runtime::{NetworkEvent, Transport};
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
    /// How often each limit of the box was met in its life, as far as that was recorded.
    met: Mutex<[u64; 4]>,
}

/// The limits that a box counts, in the order in which it does.
const MET: [&str; 4] = ["memory", "storage", "processes", "open_files"];

impl Audit {
    pub(crate) fn new(id: &str, sink: Option<Sink>) -> Audit {
        Audit(Arc::new(Inner {
            id: id.to_owned(),
            sink,
            lines: Mutex::default(),
            met: Mutex::default(),
        }))
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

    /// A life of the box begins: it counts anew.
    pub(crate) fn begin_life(&self) {
        *lock(&self.0.met) = [0; 4];
    }

    /// Adds a line for each limit of the box that was met since the last time: so often in all.
    pub(crate) fn record_met(&self, met: [u64; 4]) {
        let mut known = lock(&self.0.met);
        let mut fresh = Vec::new();
        for ((limit, known), now) in MET.into_iter().zip(known.iter_mut()).zip(met) {
            if now > *known {
                fresh.push((limit, now - *known));
                *known = now;
            }
        }
        drop(known);
        for (limit, times) in fresh {
            let fields = json!({"limit": limit, "by": "sandbox", "times": times});
            self.record("limit.reached", fields);
        }
    }

    /// Adds a line for something on the way out.
    pub(crate) fn record_network(&self, event: &NetworkEvent) {
        use NetworkEvent::{Failed, LookedUp, NotLookedUp, Opened, Refused, Trouble, UsedUp};
        let protocol = |transport: &Transport| NetworkEvent::protocol(*transport);
        let (name, fields) = match event {
            Opened { transport, to, names } => (
                "network.opened",
                json!({"protocol": protocol(transport), "to": to.to_string(), "names": names}),
            ),
            Failed { transport, to, why } => (
                "network.failed",
                json!({"protocol": protocol(transport), "to": to.to_string(), "why": why}),
            ),
            Refused { transport, to, why } => {
                ("network.refused", json!({"protocol": protocol(transport), "to": to, "why": why}))
            }
            LookedUp { name } => ("network.looked_up", json!({"name": name})),
            NotLookedUp { name } => ("network.lookup_refused", json!({"name": name})),
            UsedUp { bytes } => {
                ("limit.reached", json!({"limit": "network_bytes", "by": "sandbox", "most": bytes}))
            }
            Trouble(what) => ("network.trouble", json!({"what": what})),
        };
        self.record(name, fields);
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
    use runtime::{NetworkEvent, Transport};
    use serde_json::{Value, json};

    #[test]
    fn limits_are_told_when_they_are_met_again() {
        let audit = Audit::new("a", None);
        audit.record_met([0, 2, 0, 0]);
        audit.record_met([0, 2, 0, 0]);
        audit.record_met([1, 2, 0, 3]);
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_default();
        let told: Vec<_> = audit.lines().iter().map(read).collect();
        let told: Vec<_> =
            told.iter().map(|l| (l["limit"].as_str(), l["times"].as_u64())).collect();
        let some = |limit, times| (Some(limit), Some(times));
        assert_eq!(told, [some("storage", 2), some("memory", 1), some("open_files", 3)]);
        audit.begin_life();
        audit.record_met([1, 0, 0, 0]);
        assert_eq!(audit.lines().len(), 4);
    }

    #[test]
    fn what_is_tried_on_the_way_out_has_a_name() {
        let audit = Audit::new("a", None);
        let to = "10.0.0.1:80".to_owned();
        let why = "x".to_owned();
        audit.record_network(&NetworkEvent::Refused { transport: Transport::Udp, to, why });
        audit.record_network(&NetworkEvent::UsedUp { bytes: 7 });
        let lines = audit.lines().join("\n");
        assert!(lines.contains(r#""event":"network.refused","protocol":"udp""#), "{lines}");
        assert!(lines.contains(r#""limit":"network_bytes","most":7"#), "{lines}");
    }

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
