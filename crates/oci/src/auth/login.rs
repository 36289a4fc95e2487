//! Keeping and forgetting credentials, as `docker login` and `docker logout` do.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{ClassifyText as _, CredentialSources, HUB_KEY, credentials_error, normal_key};
use crate::Result;

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A credential helper has them.
    Helper(String),
    /// They lie in this file, readable by whoever can read it.
    File(PathBuf),
}

/// A file of credentials that is to be changed. What it has beside them is kept.
pub struct LoginFile<'a> {
    sources: &'a CredentialSources,
    path: &'a Path,
}

impl<'a> LoginFile<'a> {
    pub(super) fn new(sources: &'a CredentialSources, path: &'a Path) -> Self {
        Self { sources, path }
    }

    /// Keeps a registry's user and password: with the helper that the file names for it, or in the file.
    ///
    /// # Errors
    /// The helper fails; the file is malformed or cannot be written.
    pub fn keep(&self, registry: &str, user: &str, password: &str) -> Result<Kept> {
        let mut file = self.read()?;
        let server = server(registry);
        let helper = helper(&file, registry);
        let entry = match &helper {
            Some(helper) => {
                let known = json!({ "ServerURL": server, "Username": user, "Secret": password });
                self.sources.run_helper(helper, "store", known.to_string().as_bytes())?;
                // As docker does: the file says for which servers the helper has something.
                json!({})
            }
            None => {
                let text = format!("{user}:{password}");
                json!({ "auth": base64::engine::general_purpose::STANDARD.encode(text) })
            }
        };
        let auths = file.entry("auths").or_insert_with(|| json!({}));
        let auths =
            auths.as_object_mut().ok_or_else(|| self.malformed("\"auths\" is no object"))?;
        auths.retain(|key, _| normal_key(key) != registry);
        auths.insert(server.to_owned(), entry);
        self.write(&file)?;
        Ok(match helper {
            Some(helper) => Kept::Helper(helper),
            None => Kept::File(self.path.to_owned()),
        })
    }

    /// Forgets a registry's credentials; whether there were any.
    ///
    /// # Errors
    /// As for [`LoginFile::keep`].
    pub fn forget(&self, registry: &str) -> Result<bool> {
        let mut file = self.read()?;
        let mut known = false;
        if let Some(helper) = helper(&file, registry) {
            let server = server(registry);
            // Helpers do not say whether there was something to erase.
            if self.sources.run_helper(&helper, "get", server.as_bytes())?.is_some() {
                self.sources.run_helper(&helper, "erase", server.as_bytes())?;
                known = true;
            }
        }
        if let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| normal_key(key) != registry);
            if auths.len() != before {
                known = true;
                self.write(&file)?;
            }
        }
        Ok(known)
    }

    fn read(&self) -> Result<Map<String, Value>> {
        match fs::read(self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| self.malformed(&error.classify_text())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => Err(credentials_error(self.path.display(), error)),
        }
    }

    /// Another file takes the place of the old one, so that no reader sees half of it; nobody else can read a new one.
    fn write(&self, file: &Map<String, Value>) -> Result<()> {
        let fail = |error: io::Error| credentials_error(self.path.display(), error);
        // A link stays one.
        let path = fs::canonicalize(self.path).unwrap_or_else(|_| self.path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(fail)?;
        let mode = fs::metadata(&path).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
        let mut text = serde_json::to_vec_pretty(file).map_err(|e| fail(e.into()))?;
        text.push(b'\n');
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        new.write_all(&text).map_err(fail)?;
        new.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(fail)?;
        new.as_file().sync_all().map_err(fail)?;
        new.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    fn malformed(&self, reason: &str) -> crate::Error {
        credentials_error(self.path.display(), format!("malformed: {reason}"))
    }
}

/// What a registry is called in the file and by helpers.
fn server(registry: &str) -> &str {
    if registry == "docker.io" { HUB_KEY } else { registry }
}

/// The helper that the file names for a registry.
fn helper(file: &Map<String, Value>, registry: &str) -> Option<String> {
    let own = file.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
        let known = helpers.iter().find(|(key, _)| normal_key(key) == registry);
        known.and_then(|(_, name)| name.as_str())
    });
    let name = own.or_else(|| file.get("credsStore").and_then(Value::as_str))?;
    (!name.is_empty()).then(|| name.to_owned())
}
