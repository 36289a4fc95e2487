//! Debian's `docker-registry` on loopback, and pushing an image layout to it.

use crate::paths::make_dir;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running registry; it stops when dropped.
pub struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    /// Starts a registry that keeps its blobs below `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        make_dir(dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.join("config.yml");
        let storage = dir.join("storage");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage:?}}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n"
            ),
        )?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start docker-registry")?;
        let registry = Registry { process, port };
        registry.wait_until_ready()?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the first image of an OCI layout as `name:tag`.
    pub fn push(&self, layout: &Path, name: &str, tag: &str) -> Result<()> {
        let blob = |digest: &str| -> Result<Vec<u8>> {
            let path = layout.join("blobs").join(digest.replace(':', "/"));
            std::fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let manifest_bytes = blob(digest_of(&index["manifests"][0])?)?;
        let manifest: Value = serde_json::from_slice(&manifest_bytes)?;
        let layers = manifest["layers"].as_array().context("manifest without layers")?;
        for descriptor in layers.iter().chain([&manifest["config"]]) {
            let digest = digest_of(descriptor)?;
            let (_, head) =
                self.request("POST", &format!("/v2/{name}/blobs/uploads/"), None, &[])?;
            let location =
                header(&head, "location").context("the registry names no upload location")?;
            let path = location.find("/v2/").and_then(|at| location.get(at..)).unwrap_or_default();
            let separator = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{separator}digest={digest}");
            self.expect(201, "PUT", &path, Some("application/octet-stream"), &blob(digest)?)?;
        }
        let media_type = manifest["mediaType"].as_str().context("manifest without mediaType")?;
        self.expect(
            201,
            "PUT",
            &format!("/v2/{name}/manifests/{tag}"),
            Some(media_type),
            &manifest_bytes,
        )
    }

    fn wait_until_ready(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.request("GET", "/v2/", None, &[]).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("docker-registry does not answer on {}", self.address())
    }

    fn expect(
        &self,
        wanted: u16,
        method: &str,
        path: &str,
        media_type: Option<&str>,
        body: &[u8],
    ) -> Result<()> {
        let (status, head) = self.request(method, path, media_type, body)?;
        if status != wanted {
            bail!("registry: {method} {path}: {status}\n{head}");
        }
        Ok(())
    }

    /// One HTTP/1.1 exchange on a connection of its own; the status and the rest of the answer.
    fn request(
        &self,
        method: &str,
        path: &str,
        media_type: Option<&str>,
        body: &[u8],
    ) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let content =
            media_type.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{content}\r\n",
            self.address(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("the registry's answer is not HTTP")?, answer))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn digest_of(descriptor: &Value) -> Result<&str> {
    descriptor["digest"].as_str().context("descriptor without digest")
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
