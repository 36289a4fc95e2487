//! Registry credentials: the files of Docker and of containers (podman, skopeo, buildah), and credential helpers.
//!
//! Sources: containers-auth.json(5), containers-registries; Docker's `config.json` ("Credential stores",
//! "Credential helpers", helper protocol of docker-credential-helpers).

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;

use crate::{Error, Result};

/// Docker Hub's key in the files; it predates the registry's second version.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// How long a helper may take: it may ask a person for a password.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_HELPER_OUTPUT: u64 = 1 << 20;

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user and a password or access token.
    Basic {
        /// The user.
        user: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token, exchanged for an access token.
    Identity(String),
    /// An access token, sent as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Anonymous => f.write_str("Anonymous"),
            Credentials::Basic { user, .. } => write!(f, "Basic {{ user: {user:?}, .. }}"),
            Credentials::Identity(_) => f.write_str("Identity(..)"),
            Credentials::Bearer(_) => f.write_str("Bearer(..)"),
        }
    }
}

/// Where credentials are looked for, in order.
#[derive(Clone, Debug, Default)]
pub struct CredentialSources {
    /// Given on the command line: used for every registry.
    pub explicit: Option<Credentials>,
    /// A file that must exist (`--authfile`, `REGISTRY_AUTH_FILE`).
    pub required: Option<PathBuf>,
    /// Files that may exist.
    pub files: Vec<PathBuf>,
    /// Where helpers are looked for; the process's `PATH` where absent.
    pub helper_path: Option<OsString>,
}

impl CredentialSources {
    /// The places people expect, from the environment.
    pub fn from_env() -> CredentialSources {
        let dir = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = dir("HOME");
        let mut files = Vec::new();
        files.extend(dir("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")));
        let config = dir("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|h| h.join(".config")));
        files.extend(config.map(|d| d.join("containers/auth.json")));
        let docker = dir("DOCKER_CONFIG").or_else(|| home.map(|h| h.join(".docker")));
        files.extend(docker.map(|d| d.join("config.json")));
        CredentialSources {
            required: dir("REGISTRY_AUTH_FILE"),
            files,
            ..CredentialSources::default()
        }
    }

    /// Where a login goes: the file that was named, or docker's.
    pub fn login_file(&self) -> Option<LoginFile<'_>> {
        let path = self.required.as_ref().or(self.files.last())?;
        Some(LoginFile::new(self, path))
    }

    /// The credentials for a repository: the first file that has some decides.
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<Credentials> {
        if let Some(explicit) = &self.explicit {
            return Ok(explicit.clone());
        }
        let required = self.required.iter().map(|f| (f, true));
        for (path, required) in required.chain(self.files.iter().map(|f| (f, false))) {
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(e) if !required && e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(credentials_error(path.display(), e)),
            };
            // By way of a map: serde would take an array for a struct as well.
            let file = serde_json::from_slice::<serde_json::Map<_, _>>(&text)
                .and_then(|map| AuthFile::deserialize(serde_json::Value::Object(map)))
                .map_err(|e| {
                    credentials_error(path.display(), format!("malformed: {}", e.classify_text()))
                })?;
            if let Some(found) = self.look_in(path, &file, registry, repository)? {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    fn look_in(
        &self,
        path: &Path,
        file: &AuthFile,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>> {
        let best = best_key(file.cred_helpers.keys(), registry, repository);
        if let Some((key, helper)) = best.and_then(|key| file.cred_helpers.get_key_value(key)) {
            // An empty helper turns the store off for this registry (docker's config.json).
            if !helper.is_empty()
                && let Some(found) = self.ask_helper(helper, key)?
            {
                return Ok(Some(found));
            }
        } else if let Some(store) = file.creds_store.as_deref().filter(|s| !s.is_empty()) {
            let servers: &[&str] =
                if registry == "docker.io" { &[HUB_KEY, registry] } else { &[registry] };
            for server in servers {
                if let Some(found) = self.ask_helper(store, server)? {
                    return Ok(Some(found));
                }
            }
        }
        let Some(entry) =
            best_key(file.auths.keys(), registry, repository).and_then(|k| file.auths.get(k))
        else {
            return Ok(None);
        };
        entry
            .credentials()
            .map_err(|reason| credentials_error(path.display(), format!("{registry}: {reason}")))
    }

    /// Asks `docker-credential-NAME get` for a server's credentials.
    fn ask_helper(&self, name: &str, server: &str) -> Result<Option<Credentials>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            username: String,
            secret: String,
        }
        let fail = |reason: String| credentials_error(format!("docker-credential-{name}"), reason);
        let Some(text) = self.run_helper(name, "get", server.as_bytes())? else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|e| fail(format!("malformed answer: {}", e.classify_text())))?;
        Ok(match answer.username.as_str() {
            "" if answer.secret.is_empty() => None,
            "<token>" => Some(Credentials::Identity(answer.secret)),
            _ => Some(Credentials::Basic { user: answer.username, password: answer.secret }),
        })
    }

    /// Runs `docker-credential-NAME ACTION` with `input` on its standard input; gives what it writes, nothing if it knows no such
    /// credentials.
    fn run_helper(&self, name: &str, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
        let program = format!("docker-credential-{name}");
        let fail = |reason: String| credentials_error(&program, reason);
        if name.contains(['/', '\\', '\0']) {
            return Err(fail("not a helper's name".into()));
        }
        let path = self
            .find_helper(&program)
            .ok_or_else(|| fail("cannot be run: there is no such program on the PATH".into()))?;
        let mut command = Command::new(path);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|e| fail(format!("cannot be run: {e}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input closes the pipe; its answer then tells.
            let _ = stdin.write_all(input);
        }
        let stdout = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            match stdout {
                Some(out) => out.take(MAX_HELPER_OUTPUT).read_to_end(&mut text).map(|_| text),
                None => Ok(text),
            }
        });
        let deadline = Instant::now() + HELPER_TIMEOUT;
        let status = loop {
            match child.try_wait().map_err(|e| fail(e.to_string()))? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(fail(format!("no answer within {} s", HELPER_TIMEOUT.as_secs())));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let text = match reader.join() {
            Ok(Ok(text)) => text,
            Ok(Err(e)) => return Err(fail(e.to_string())),
            Err(_) => return Err(fail("its answer could not be read".into())),
        };
        if status.success() {
            return Ok(Some(text));
        }
        let text = String::from_utf8_lossy(&text);
        if text.contains("credentials not found") || text.contains("no credentials") {
            return Ok(None);
        }
        Err(fail(format!("failed: {}", text.trim())))
    }

    /// Where it lies. Folders that are relative do not count: a file in whatever folder this is run in gets no passwords.
    fn find_helper(&self, program: &str) -> Option<PathBuf> {
        let path = self.helper_path.clone().or_else(|| env::var_os("PATH"))?;
        env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(program))
            .find(|path| is_program(path))
    }
}

/// A JSON error without the text it quotes, which may be a secret.
trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    fn classify_text(&self) -> String {
        format!("{:?} error at line {}, column {}", self.classify(), self.line(), self.column())
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Entry {
    fn credentials(&self) -> std::result::Result<Option<Credentials>, String> {
        let given = |field: &Option<String>| field.clone().filter(|t| !t.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::Bearer(token)));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth.trim())
                .map_err(|_| "\"auth\" is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "\"auth\" is not UTF-8")?;
            let (user, password) = text.split_once(':').ok_or("\"auth\" is not USER:PASSWORD")?;
            // Some versions of docker pad the password with NULs.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credentials::Basic { user: user.into(), password: password.into() }));
        }
        Ok(match (given(&self.username), given(&self.password)) {
            (Some(user), Some(password)) => Some(Credentials::Basic { user, password }),
            _ => None, // `docker login` with a store leaves an empty entry
        })
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The longest key that is the repository, a path above it, or its registry.
fn best_key<'a>(
    keys: impl Iterator<Item = &'a String>,
    registry: &str,
    repository: &str,
) -> Option<&'a String> {
    let whole = format!("{registry}/{repository}");
    keys.filter_map(|key| {
        let plain = normal_key(key);
        let matches =
            whole == plain || whole.strip_prefix(&plain).is_some_and(|rest| rest.starts_with('/'));
        matches.then_some((plain.len(), key))
    })
    .max_by_key(|(length, _)| *length)
    .map(|(_, key)| key)
}

/// `https://index.docker.io/v1/` → `docker.io`, `http://host:5000` → `host:5000`, `host/ns` as it is.
fn normal_key(key: &str) -> String {
    let plain = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let plain = plain.trim_end_matches('/');
    let plain = plain.strip_suffix("/v1").or_else(|| plain.strip_suffix("/v2")).unwrap_or(plain);
    let (host, path) = plain.split_once('/').map_or((plain, ""), |(h, p)| (h, p));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    if path.is_empty() { host.into() } else { format!("{host}/{path}") }
}

fn credentials_error(origin: impl ToString, reason: impl ToString) -> Error {
    Error::Credentials { origin: origin.to_string(), reason: reason.to_string() }
}

mod login;

pub use login::{Kept, LoginFile};

#[cfg(test)]
mod tests;
