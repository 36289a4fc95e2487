//! An image as lines: what its config says, its history, and the entries of its layers, whoever made it.

use std::fmt::Write as _;
use std::io::Read;

use serde_json::Value;

/// Times before this are the fixtures'; a later one is the time of the build.
const FIXTURE_TIMES_END: u64 = 1_700_000_000;

/// `skip` layers and history entries belong to the base and are not shown. A layer without entries counts as none: docker's own store
/// keeps it, BuildKit's exporter leaves it out.
pub fn show(config: &Value, layers: Vec<Box<dyn Read>>, skip: (usize, usize)) -> String {
    let mut out = String::new();
    let mut full = Vec::new();
    for layer in layers.into_iter().skip(skip.0) {
        let lines = entries(layer);
        full.push(!lines.is_empty());
        if lines.is_empty() {
            continue;
        }
        out.push_str("layer\n");
        for line in lines {
            writeln!(out, "  {line}").unwrap();
        }
    }
    let mut full = full.into_iter();
    let word = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    if !matches!(word("os"), "" | "linux") {
        writeln!(out, "platform {}/{}", word("os"), word("architecture")).unwrap();
    }
    if let Some(author) = config.get("author").and_then(Value::as_str) {
        writeln!(out, "author {author}").unwrap();
    }
    let empty = serde_json::Map::new();
    let run = config.get("config").and_then(Value::as_object).unwrap_or(&empty);
    let mut keys: Vec<&String> = run.keys().collect();
    keys.sort();
    for key in keys {
        let value = &run[key];
        let bare = match value {
            Value::Null | Value::Bool(_) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::Number(_) => false,
        };
        // docker's own container fields, which say nothing in an image.
        if bare && !matches!(key.as_str(), "Entrypoint" | "Cmd")
            || value.is_null()
            || key == "ArgsEscaped"
        {
            continue;
        }
        writeln!(out, "{key} {value}").unwrap();
    }
    let none = Vec::new();
    let history = config.get("history").and_then(Value::as_array).unwrap_or(&none);
    for entry in history.iter().skip(skip.1) {
        let by = entry.get("created_by").and_then(Value::as_str).unwrap_or_default();
        let made = entry.get("empty_layer").and_then(Value::as_bool) != Some(true);
        let mark = if made && full.next() != Some(false) { "+" } else { "-" };
        writeln!(out, "history {mark} {by:?}").unwrap();
    }
    out
}

fn entries(layer: Box<dyn Read>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tar = tar::Archive::new(layer);
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (kind, mode, uid, gid, mtime) = {
            let header = entry.header();
            let kind = format!("{:?}", header.entry_type());
            let numbers = (header.mode().unwrap() & 0o7777, header.uid().unwrap());
            (kind, numbers.0, numbers.1, header.gid().unwrap(), header.mtime().unwrap())
        };
        let mut path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        path = path.trim_start_matches("./").trim_matches('/').to_owned();
        if path.is_empty() {
            // Who lists the root differs; what matters of it shows in its own cases.
            continue;
        }
        let link = entry.link_name_bytes().map(|link| {
            let link = String::from_utf8_lossy(&link).into_owned();
            let link = if kind == "Link" { link.trim_start_matches('/').to_owned() } else { link };
            format!(" -> {link}")
        });
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let content = match std::str::from_utf8(&content) {
            Ok("") => String::new(),
            Ok(text) if text.contains('\0') || text.len() > 300 => " (bytes)".to_owned(),
            Ok(text) => format!(" {text:?}"),
            Err(_) => " (bytes)".to_owned(),
        };
        let old = mtime > 0 && mtime < FIXTURE_TIMES_END && kind == "Regular";
        let time = if old { format!(" @{mtime}") } else { String::new() };
        let mode = if kind == "Symlink" { 0o777 } else { mode };
        let link = link.unwrap_or_default();
        lines.push(format!("{path} {kind} {mode:04o} {uid}:{gid}{time}{link}{content}"));
    }
    lines.sort();
    lines
}
