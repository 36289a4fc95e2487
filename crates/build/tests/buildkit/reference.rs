//! BuildKit's answer, by docker's command line.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

use serde_json::Value;

use crate::bench::Bench;
use crate::cases::Case;
use crate::listing;

pub fn build(bench: &Bench, case: &Case) -> String {
    let mut skip = (0, 0);
    let stages = case.stages();
    for (tag, text) in &stages {
        let file = bench.path("Dockerfile.reference");
        std::fs::write(&file, text).unwrap();
        let image = if tag.is_empty() { "boxer-reference" } else { tag };
        let ignore = bench.write_ignore(&file, case);
        let mut docker = Command::new("docker");
        docker.args(["buildx", "build", "--network=host", "--provenance=false", "-q", "-t", image]);
        docker.arg("-f").arg(&file);
        docker.arg("--build-context").arg(format!("other={}", bench.path("other").display()));
        for pair in case.all("arg:") {
            docker.args(["--build-arg", pair]);
        }
        for (id, path) in bench.secrets(case) {
            docker.arg("--secret").arg(format!("id={id},src={}", path.display()));
        }
        if case.all("ssh").next().is_some() {
            docker.arg("--ssh").arg(format!("default={}", bench.ssh_key().display()));
        }
        for word in case.all("flag:") {
            docker.arg(word);
        }
        if tag.is_empty() {
            for target in case.all("target=") {
                docker.args(["--target", target]);
            }
        }
        let output = docker.arg(bench.path("main")).output().unwrap();
        ignore.inspect(|path| std::fs::remove_file(path).unwrap());
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = text.lines().rev().find(|line| line.contains("ERROR: ")).unwrap_or(&text);
            let last = last.split("ERROR: ").last().unwrap_or_default().trim();
            let folder = bench.path("").display().to_string();
            return format!("error {}\n", without_chance(last.replace(&folder, "").trim()));
        }
        if case.dockerfile.contains("FROM alpine") {
            skip = (1, 2);
        }
    }
    let saved = Command::new("docker").args(["save", "boxer-reference"]).output().unwrap();
    if !saved.status.success() {
        // An image without layers cannot be saved.
        return listing::show(&described(), Vec::new(), skip);
    }
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in tar::Archive::new(saved.stdout.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        blobs.insert(name, bytes);
    }
    let manifest: Value = serde_json::from_slice(&blobs["manifest.json"]).unwrap();
    let config: Value =
        serde_json::from_slice(&blobs[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap().iter().map(|name| {
        let bytes = std::io::Cursor::new(blobs[name.as_str().unwrap()].clone());
        // containerd's store keeps what was exported, docker's own the files.
        match bytes.get_ref().starts_with(&[0x1f, 0x8b]) {
            true => Box::new(flate2::read::GzDecoder::new(bytes)) as Box<dyn Read>,
            false => Box::new(bytes),
        }
    });
    listing::show(&config, layers.collect(), skip)
}

/// The config and history of an image that has no layers.
fn described() -> Value {
    let docker = |words: &[&str]| {
        let output = Command::new("docker").args(words).arg("boxer-reference").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let inspected: Value = serde_json::from_str(&docker(&["image", "inspect"])).unwrap();
    let history = docker(&["history", "--no-trunc", "--format", "{{json .CreatedBy}}"]);
    let history: Vec<Value> = history
        .lines()
        .rev()
        .map(|line| {
            let by: Value = serde_json::from_str(line).unwrap();
            serde_json::json!({"created_by": by, "empty_layer": true})
        })
        .collect();
    let author = inspected[0]["Author"].as_str().filter(|author| !author.is_empty());
    serde_json::json!({"config": inspected[0]["Config"], "history": history, "author": author})
}

/// The words that are others in each run: names of mounts and of layers.
fn without_chance(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("::") {
        Some((left, _)) if left.len() == 36 => "ID:".to_owned(),
        _ => match word.split_once("/vfs/dir/") {
            Some((_, rest)) => rest.split_once('/').map_or("/", |(_, rest)| rest).to_owned(),
            None => word.to_owned(),
        },
    });
    words.collect::<Vec<_>>().join(" ")
}
