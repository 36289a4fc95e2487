//! `--progress=rawjson`: one JSON object a line with the fields of BuildKit's `client.SolveStatus`
//! (github.com/moby/buildkit/client/graph.go): `vertexes`, `statuses`, `logs`, `warnings`.

use std::time::SystemTime;

use base64::Engine as _;
use dockerfile::lint::Warning;
use oci::Digest;
use serde_json::{Value, json};

use super::board::{Change, Part, Vertex, View};
use super::write;

/// Which stream a log came from is not kept apart: a box writes both to one place, in order.
const STREAM: u32 = 1;

pub struct RawJson;

impl View for RawJson {
    fn changed(&mut self, vertices: &[Vertex], change: Change<'_>) {
        let of = |index: usize| vertices.get(index).map(|vertex| (vertex, digest(index, vertex)));
        let record = match change {
            Change::Started(index) | Change::Completed(index) => of(index)
                .map(|(vertex, digest)| json!({ "vertexes": [vertex_json(vertex, &digest)] })),
            Change::Log(index, bytes, _) if !bytes.is_empty() => of(index).map(|(_, digest)| {
                let log = json!({
                    "vertex": digest,
                    "stream": STREAM,
                    "data": base64(bytes),
                    "timestamp": time(SystemTime::now()),
                });
                json!({ "logs": [log] })
            }),
            Change::Log(..) => None,
            Change::Part(index, at) => of(index).and_then(|(vertex, digest)| {
                let part = vertex.parts.get(at)?;
                Some(json!({ "statuses": [status_json(part, &digest)] }))
            }),
            Change::Warning(text) => {
                let last = vertices.len().checked_sub(1).and_then(of);
                let digest = last.map(|(_, digest)| digest);
                Some(
                    json!({ "warnings": [{ "vertex": digest, "level": 1, "short": base64(text.as_bytes()) }] }),
                )
            }
            Change::Lint(warning, name, text) => {
                let first = of(0).map(|(_, digest)| digest);
                Some(json!({ "warnings": [lint_json(warning, name, text, first)] }))
            }
        };
        if let Some(record) = record {
            write(&format!("{record}\n"));
        }
    }
}

/// Stands for a step in the records.
fn digest(index: usize, vertex: &Vertex) -> String {
    Digest::of(format!("{index} {}", vertex.name).as_bytes()).to_string()
}

fn vertex_json(vertex: &Vertex, digest: &str) -> Value {
    let mut value = json!({
        "digest": digest,
        "name": vertex.name,
        "started": time(vertex.started.clock),
    });
    if let Some(completed) = vertex.completed {
        value["completed"] = time(completed.clock).into();
    }
    if vertex.cached {
        value["cached"] = true.into();
    }
    if let Some(error) = &vertex.error {
        value["error"] = error.as_str().into();
    } else if vertex.cancelled {
        // What BuildKit says of a step that was ended.
        value["error"] = "context canceled".into();
    }
    value
}

fn status_json(part: &Part, vertex: &str) -> Value {
    let mut value = json!({
        "id": part.name,
        "vertex": vertex,
        "current": part.current,
        "timestamp": time(SystemTime::now()),
        "started": time(part.started.clock),
    });
    if part.total > 0 {
        value["total"] = part.total.into();
    }
    if let Some(completed) = part.completed {
        value["completed"] = time(completed.clock).into();
    }
    value
}

fn lint_json(warning: &Warning, name: &str, text: &str, vertex: Option<String>) -> Value {
    let short = format!("{}: {}", warning.rule, warning.message);
    json!({
        "vertex": vertex,
        "level": 1,
        "short": base64(short.as_bytes()),
        "detail": [base64(warning.message.as_bytes())],
        "url": warning.url(),
        "sourceInfo": { "filename": name, "data": base64(text.as_bytes()), "language": "Dockerfile" },
        "range": [{ "start": { "line": warning.span.start }, "end": { "line": warning.span.end } }],
    })
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// RFC 3339 with nanoseconds, as Go writes times.
fn time(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = build::rfc3339(i64::try_from(since.as_secs()).unwrap_or_default());
    format!("{}.{:09}Z", seconds.trim_end_matches('Z'), since.subsec_nanos())
}
