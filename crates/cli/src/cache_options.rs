//! `--cache-from` and `--cache-to`, in buildx's forms.

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::{CacheExport, CacheImport, CacheMode};
use oci::{ActionsCache, Digest, Reference, Selector};

use crate::failure::Failure;

/// Kinds of buildx that are refused, and why.
const REFUSED: [(&str, &str); 2] = [
    ("s3", "object stores are not spoken; use type=registry or type=local"),
    ("azblob", "object stores are not spoken; use type=registry or type=local"),
];
const DEFAULT_TAG: &str = "latest";
const DEFAULT_SCOPE: &str = "boxer";

/// Every `--cache-from`.
pub fn imports(words: &[String]) -> Result<Vec<CacheImport>, Failure> {
    words.iter().filter_map(|word| import(word).transpose()).collect()
}

/// Every `--cache-to`.
pub fn exports(words: &[String]) -> Result<Vec<CacheExport>, Failure> {
    words.iter().filter_map(|word| export(word).transpose()).collect()
}

/// The fields of a `key=value,…`, each to be taken once.
struct Fields<'a> {
    flag: &'static str,
    word: &'a str,
    kind: String,
    left: BTreeMap<String, String>,
}

impl<'a> Fields<'a> {
    /// Without `=` it is a name in a registry.
    fn parse(flag: &'static str, word: &'a str) -> Result<Self, Failure> {
        let mut left = BTreeMap::new();
        if word.contains('=') {
            for field in word.split(',') {
                let Some((key, value)) = field.split_once('=') else {
                    let what = format!("invalid {flag} {word:?}: {field:?} is not KEY=VALUE");
                    return Err(Failure::usage(what));
                };
                left.insert(key.trim().to_lowercase(), value.to_owned());
            }
        } else {
            left.insert("type".to_owned(), "registry".to_owned());
            left.insert("ref".to_owned(), word.to_owned());
        }
        let mut fields = Self { flag, word, kind: String::new(), left };
        fields.kind = fields.need("type")?;
        Ok(fields)
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::usage(format!("invalid {} {:?}: {what}", self.flag, self.word))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.left.remove(key).filter(|value| !value.is_empty())
    }

    fn need(&mut self, key: &str) -> Result<String, Failure> {
        self.take(key).ok_or_else(|| self.wrong(&format!("it needs {key}=")))
    }

    fn truth(&mut self, key: &str, default: bool) -> Result<bool, Failure> {
        match self.take(key).as_deref() {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(self.wrong(&format!("{key}= is true or false"))),
        }
    }

    fn reference(&mut self) -> Result<Reference, Failure> {
        let text = self.need("ref")?;
        Reference::parse(&text).map_err(|error| self.wrong(&error.to_string()))
    }

    /// The cache of `type=gha`; outside of GitHub Actions there is none.
    fn actions(&mut self) -> Result<Option<ActionsCache>, Failure> {
        if self.take("version").is_some_and(|version| version != "2") {
            return Err(self.wrong("version= is 2: GitHub has turned the first one off"));
        }
        let scope = self.take("scope").unwrap_or_else(|| DEFAULT_SCOPE.to_owned());
        let mut given = |key: &str, variable: &str| {
            let text = self.take(key).or_else(|| std::env::var(variable).ok());
            text.filter(|text| !text.is_empty())
        };
        let url = given("url_v2", "ACTIONS_RESULTS_URL");
        let token = given("token", "ACTIONS_RUNTIME_TOKEN");
        let (Some(url), Some(token)) = (url, token) else {
            // As with buildx: the same command serves at home.
            tell!(
                "boxer: warning: {} type=gha is left out: ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN are not set",
                self.flag
            );
            return Ok(None);
        };
        Ok(Some(ActionsCache { url, token, scope }))
    }

    /// Nothing may be left over.
    fn end(&self) -> Result<(), Failure> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                Err(self.wrong(&format!("{key}= is not supported with type={}", self.kind)))
            }
        }
    }

    fn refuse(&self, kinds: &[&str]) -> Failure {
        let kind = self.kind.as_str();
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == kind) {
            return Failure::usage(format!("{} type={kind} is not supported: {reason}", self.flag));
        }
        let failure = self.wrong(&format!("type= is one of {}", kinds.join(", ")));
        match dockerfile::did_you_mean(kind, kinds.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure,
        }
    }
}

/// None where it is about a service that is not here.
fn import(word: &str) -> Result<Option<CacheImport>, Failure> {
    let mut fields = Fields::parse("--cache-from", word)?;
    let import = match fields.kind.as_str() {
        "registry" => Some(CacheImport::Registry(fields.reference()?)),
        "gha" => fields.actions()?.map(CacheImport::Actions),
        "local" => {
            let path = PathBuf::from(fields.need("src")?);
            let tag = fields.take("tag");
            let selector = match fields.take("digest") {
                Some(digest) => {
                    let digest = Digest::parse(&digest);
                    Selector::Digest(digest.map_err(|error| fields.wrong(&error.to_string()))?)
                }
                None => Selector::Name(tag.unwrap_or_else(|| DEFAULT_TAG.to_owned())),
            };
            Some(CacheImport::Local { path, selector })
        }
        _ => return Err(fields.refuse(&["registry", "local", "gha"])),
    };
    fields.end()?;
    Ok(import)
}

/// As [`import`].
fn export(word: &str) -> Result<Option<CacheExport>, Failure> {
    let mut fields = Fields::parse("--cache-to", word)?;
    let mode = match fields.take("mode").as_deref() {
        None | Some("min") => CacheMode::Min,
        Some("max") => CacheMode::Max,
        Some(_) => return Err(fields.wrong("mode= is min or max")),
    };
    // What is written is always like this.
    for (key, only) in
        [("oci-mediatypes", true), ("image-manifest", true), ("force-compression", false)]
    {
        if fields.truth(key, only)? != only {
            return Err(fields.wrong(&format!("{key}={} is not supported", !only)));
        }
    }
    if let Some(other) = fields.take("compression").filter(|kind| kind != "gzip") {
        return Err(fields.wrong(&format!("compression={other} is not supported: layers are gzip")));
    }
    let ignore_error = fields.truth("ignore-error", false)?;
    let export = match fields.kind.as_str() {
        "inline" if mode == CacheMode::Max => {
            return Err(fields.wrong("an inline cache has mode=min"));
        }
        "inline" => Some(CacheExport::Inline),
        "registry" => {
            let reference = fields.reference()?;
            Some(CacheExport::Registry { reference, mode, ignore_error })
        }
        "gha" => {
            let cache = fields.actions()?;
            cache.map(|cache| CacheExport::Actions { cache, mode, ignore_error })
        }
        "local" => {
            let path = PathBuf::from(fields.need("dest")?);
            let tag = fields.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned());
            Some(CacheExport::Local { path, tag, mode, ignore_error })
        }
        _ => return Err(fields.refuse(&["inline", "registry", "local", "gha"])),
    };
    fields.end()?;
    Ok(export)
}

#[cfg(test)]
mod tests {
    use super::{CacheExport, CacheImport, CacheMode, export, import};
    use oci::{ActionsCache, Reference, Selector};
    use std::path::PathBuf;

    #[test]
    fn caches_are_named_as_in_buildx() {
        let reference = || Reference::parse("r.example/c:1").unwrap_or_else(|e| panic!("{e}"));
        let from = |word: &str| import(word).map_err(|failure| failure.message);
        assert_eq!(from("r.example/c:1"), Ok(Some(CacheImport::Registry(reference()))));
        let registry = from("type=registry,ref=r.example/c:1");
        assert_eq!(registry, Ok(Some(CacheImport::Registry(reference()))));
        let local = |tag: &str| {
            let (path, selector) = (PathBuf::from("d"), Selector::Name(tag.to_owned()));
            Some(CacheImport::Local { path, selector })
        };
        assert_eq!(from("type=local,src=d"), Ok(local("latest")));
        assert_eq!(from("type=local,src=d,tag=x"), Ok(local("x")));
        let to = |word: &str| export(word).map_err(|failure| failure.message);
        assert_eq!(to("type=inline"), Ok(Some(CacheExport::Inline)));
        let max = CacheExport::Registry {
            reference: reference(),
            mode: CacheMode::Max,
            ignore_error: true,
        };
        let word = "type=registry,ref=r.example/c:1,mode=max,ignore-error=true,image-manifest=true";
        assert_eq!(to(word), Ok(Some(max)));
        let cache = ActionsCache {
            url: "https://results.example/".into(),
            token: "t".into(),
            scope: "s".into(),
        };
        let word = "type=gha,scope=s,url_v2=https://results.example/,token=t,version=2";
        assert_eq!(from(word), Ok(Some(CacheImport::Actions(cache.clone()))));
        assert!(
            !format!("{:?}", from(&word.replace("token=t", "token=s3cret"))).contains("s3cret")
        );
        let max = CacheExport::Actions { cache, mode: CacheMode::Max, ignore_error: false };
        assert_eq!(to(&format!("{word},mode=max")), Ok(Some(max)));
        for (word, expected) in [
            ("type=gha,version=1", "version= is 2"),
            ("type=gha,url_v2=u,token=t,bucket=b", "bucket= is not supported"),
            ("type=azblob", "--cache-to type=azblob is not supported: "),
            ("type=local", "it needs dest="),
            ("type=local,dest=d,mode=most", "mode= is min or max"),
            ("type=local,dest=d,scope=x", "scope= is not supported with type=local"),
            ("type=inline,mode=max", "mode=min"),
            ("type=locla,dest=d", "type= is one of inline, registry, local, gha"),
            ("mode=max", "it needs type="),
            ("type=local,dest=d,compression=zstd", "compression=zstd"),
        ] {
            assert!(to(word).is_err_and(|text| text.contains(expected)), "{word}");
        }
        assert!(from("type=s3,bucket=b").is_err_and(|text| text.contains("object stores")));
    }
}
