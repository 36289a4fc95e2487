//! `--cache-from` and `--cache-to`, in buildx's forms.

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::{CacheExport, CacheImport, CacheMode};
use oci::{Digest, Reference, Selector};

use crate::failure::Failure;

/// Kinds of buildx that are refused, and why.
const REFUSED: [(&str, &str); 3] = [
    (
        "gha",
        "the cache service of GitHub Actions is not spoken; use type=local with actions/cache, or type=registry",
    ),
    ("s3", "object stores are not spoken; use type=registry or type=local"),
    ("azblob", "object stores are not spoken; use type=registry or type=local"),
];
const DEFAULT_TAG: &str = "latest";

/// Every `--cache-from`.
pub fn imports(words: &[String]) -> Result<Vec<CacheImport>, Failure> {
    words.iter().map(|word| import(word)).collect()
}

/// Every `--cache-to`.
pub fn exports(words: &[String]) -> Result<Vec<CacheExport>, Failure> {
    words.iter().map(|word| export(word)).collect()
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

fn import(word: &str) -> Result<CacheImport, Failure> {
    let mut fields = Fields::parse("--cache-from", word)?;
    let import = match fields.kind.as_str() {
        "registry" => CacheImport::Registry(fields.reference()?),
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
            CacheImport::Local { path, selector }
        }
        _ => return Err(fields.refuse(&["registry", "local"])),
    };
    fields.end()?;
    Ok(import)
}

fn export(word: &str) -> Result<CacheExport, Failure> {
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
        "inline" => CacheExport::Inline,
        "registry" => CacheExport::Registry { reference: fields.reference()?, mode, ignore_error },
        "local" => {
            let path = PathBuf::from(fields.need("dest")?);
            let tag = fields.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned());
            CacheExport::Local { path, tag, mode, ignore_error }
        }
        _ => return Err(fields.refuse(&["inline", "registry", "local"])),
    };
    fields.end()?;
    Ok(export)
}

#[cfg(test)]
mod tests {
    use super::{CacheExport, CacheImport, CacheMode, export, import};
    use oci::{Reference, Selector};
    use std::path::PathBuf;

    #[test]
    fn caches_are_named_as_in_buildx() {
        let reference = || Reference::parse("r.example/c:1").unwrap_or_else(|e| panic!("{e}"));
        let from = |word: &str| import(word).map_err(|failure| failure.message);
        assert_eq!(from("r.example/c:1"), Ok(CacheImport::Registry(reference())));
        assert_eq!(from("type=registry,ref=r.example/c:1"), Ok(CacheImport::Registry(reference())));
        let local = |tag: &str| CacheImport::Local {
            path: PathBuf::from("d"),
            selector: Selector::Name(tag.to_owned()),
        };
        assert_eq!(from("type=local,src=d"), Ok(local("latest")));
        assert_eq!(from("type=local,src=d,tag=x"), Ok(local("x")));
        let to = |word: &str| export(word).map_err(|failure| failure.message);
        assert_eq!(to("type=inline"), Ok(CacheExport::Inline));
        let max = CacheExport::Registry {
            reference: reference(),
            mode: CacheMode::Max,
            ignore_error: true,
        };
        let word = "type=registry,ref=r.example/c:1,mode=max,ignore-error=true,image-manifest=true";
        assert_eq!(to(word), Ok(max));
        for (word, expected) in [
            ("type=gha", "--cache-to type=gha is not supported: "),
            ("type=local", "it needs dest="),
            ("type=local,dest=d,mode=most", "mode= is min or max"),
            ("type=local,dest=d,scope=x", "scope= is not supported with type=local"),
            ("type=inline,mode=max", "mode=min"),
            ("type=locla,dest=d", "type= is one of inline, registry, local"),
            ("mode=max", "it needs type="),
            ("type=local,dest=d,compression=zstd", "compression=zstd"),
        ] {
            assert!(to(word).is_err_and(|text| text.contains(expected)), "{word}");
        }
        assert!(from("type=s3,bucket=b").is_err_and(|text| text.contains("object stores")));
    }
}
