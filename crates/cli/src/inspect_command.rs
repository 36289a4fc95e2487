//! `boxer inspect`: what an image or a box is, as JSON on standard output.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use oci::{Artifact, Reference};
use serde_json::{Value, json};

use crate::args::{Global, InspectArgs};
use crate::failure::Failure;
use crate::run_command::is_path;
use crate::session;

pub fn run(global: &Global, args: &InspectArgs) -> Result<ExitCode, Failure> {
    let value = if is_path(&args.name) {
        let mut value = wasm(Path::new(&args.name))?;
        set(&mut value, "file", json!(args.name));
        value
    } else {
        let store = session::store(global)?;
        let reference = Reference::parse(&args.name).map_err(Failure::usage)?;
        let found = match args.image {
            true => Artifact::Image(store.image(&reference)?),
            false => store.artifact(&reference)?,
        };
        match found {
            Artifact::Box(handle) => {
                let mut value = wasm(&store.blob_file(&handle.wasm.digest)?)?;
                set(&mut value, "name", json!(reference.canonical()));
                set(&mut value, "digest", json!(handle.digest));
                set(&mut value, "artifactConfig", json!(handle.config));
                set(&mut value, "wasm", json!(handle.wasm));
                if let Ok(image) = store.image(&reference) {
                    set(&mut value, "image", json!(image.digest));
                }
                value
            }
            Artifact::Image(image) => {
                let layers: Vec<Value> = image
                    .layers
                    .iter()
                    .map(|layer| {
                        json!({
                            "digest": layer.digest,
                            "mediaType": layer.media_type,
                            "size": layer.size,
                            "diffId": layer.diff_id,
                        })
                    })
                    .collect();
                json!({
                    "kind": "image",
                    "name": reference.canonical(),
                    "digest": image.digest,
                    "size": image.layers.iter().map(|layer| layer.size).sum::<u64>(),
                    "config": image.config,
                    "layers": layers,
                })
            }
        }
    };
    let text = serde_json::to_string_pretty(&value).map_err(Failure::new)?;
    say!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn set(value: &mut Value, key: &str, item: Value) {
    if let Value::Object(fields) = value {
        fields.insert(key.to_owned(), item);
    }
}

/// The image config in a Wasm file; null if there is none.
pub fn image_config(path: &Path) -> Result<Value, Failure> {
    Ok(read(path)?.2)
}

/// What a Wasm file says of the life that it goes on with; none if it begins with its programs.
pub fn life(path: &Path) -> Result<Option<Value>, Failure> {
    Ok(life_of(&read(path)?.1))
}

fn life_of(found: &link::Inspection) -> Option<Value> {
    serde_json::from_slice(found.life_json.as_deref()?).ok()
}

/// What a Wasm file consists of, and the image config inside.
fn read(path: &Path) -> Result<(File, link::Inspection, Value), Failure> {
    let fail = |error: &dyn std::fmt::Display| unreadable(path, error);
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let found = link::inspect(&mut file).map_err(|error| fail(&error))?;
    let config = match &found.image_config_json {
        Some(bytes) => serde_json::from_slice(bytes)
            .map_err(|error| fail(&format!("the image config inside is malformed: {error}")))?,
        None => Value::Null,
    };
    Ok((file, found, config))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// The names that a map of an image config has.
pub fn names(config: &Value, map: &str) -> Vec<String> {
    let names = config.pointer(&format!("/config/{map}")).and_then(Value::as_object);
    names.map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// What a Wasm file says of itself: sizes, imports, and the image config inside.
fn wasm(path: &Path) -> Result<Value, Failure> {
    let (mut file, found, config) = read(path)?;
    let frozen = found.frozen_json.as_deref();
    let frozen = frozen.and_then(|text| serde_json::from_slice::<Value>(text).ok());
    let compiled = frozen.as_ref().and_then(|frozen| frozen.get("regions")?.as_u64());
    let mut needs = vec!["bulk memory"];
    if link::has_simd(&mut file, &found).map_err(|error| unreadable(path, &error))? {
        needs.insert(0, "simd");
    }
    if compiled.is_some_and(|regions| regions > 0) {
        needs.push("tail calls");
    }
    Ok(json!({
        "kind": "box",
        "format": match found.format {
            link::Format::Module => "module",
            link::Format::Component => "component",
        },
        "size": found.file_size,
        "codeSize": found.code_size,
        "dataSize": found.data_size,
        "imports": found.imports,
        "frozen": frozen,
        "life": life_of(&found),
        "needs": needs,
        "mayAskFor": asks(&config, &found),
        "config": config,
    }))
}

/// What a box may ask its host for; it gets nothing that is not granted.
fn asks(config: &Value, found: &link::Inspection) -> Value {
    json!({
        // A module is given a stream; a component says what it imports.
        "network": found.format == link::Format::Module
            || found.imports.iter().any(|import| import.starts_with("wasi:sockets/tcp@")),
        "ports": names(config, "ExposedPorts"),
        "directories": names(config, "Volumes"),
        "terminal": true,
    })
}
