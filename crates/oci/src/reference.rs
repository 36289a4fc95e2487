//! Image references, normalised as Docker does (`debian` → `docker.io/library/debian:latest`).

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

/// A normalised reference: registry, repository and a tag, a digest or both.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference(oci_spec::distribution::Reference);

impl Reference {
    /// Parses what people write after FROM. A name without tag and digest gets the tag `latest`.
    pub fn parse(input: &str) -> Result<Reference> {
        let bad = |reason: &str| Error::InvalidReference {
            input: input.chars().take(300).collect(),
            reason: reason.into(),
        };
        if input.len() == 64 && input.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("it is a bare image id; write NAME@sha256:ID"));
        }
        if !input.is_ascii() {
            return Err(bad("only ASCII is allowed"));
        }
        let inner: oci_spec::distribution::Reference =
            input.parse().map_err(|e: oci_spec::distribution::ParseError| {
                match input.to_ascii_lowercase().parse::<oci_spec::distribution::Reference>() {
                    Ok(_) => bad("the repository name must be in lower case"),
                    Err(_) => bad(&e.to_string()),
                }
            })?;
        if inner.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad("the repository name must be in lower case"));
        }
        if let Some(digest) = inner.digest() {
            Digest::parse(digest).map_err(|e| bad(&e.to_string()))?;
        }
        Ok(Reference(inner))
    }

    /// `docker.io`, `localhost:5000` …
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// `library/debian`
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// The digest, if there is one. It decides; a tag beside it is only a comment.
    pub fn digest(&self) -> Option<Digest> {
        self.0.digest().and_then(|d| Digest::parse(d).ok())
    }

    /// The same repository by digest.
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference(self.0.clone_with_digest(digest.to_string()))
    }

    /// `docker.io/library/debian:bookworm`; the name the store keeps.
    pub fn canonical(&self) -> String {
        let mut text = format!("{}/{}", self.registry(), self.repository());
        // A digest decides, so that two tags beside the same digest are one name.
        match (self.0.digest(), self.tag()) {
            (Some(digest), _) => text += &format!("@{digest}"),
            (None, tag) => text += &format!(":{}", tag.unwrap_or("latest")),
        }
        text
    }

    /// The short form people know: `debian:bookworm`, `localhost:5000/app:1`.
    pub fn familiar(&self) -> String {
        let canonical = self.canonical();
        // What is left out must come back: `docker.io/i.o/i` is not `i.o/i`, nor `docker.io/library/y/d` `y/d`.
        let shorter = ["docker.io/library/", "docker.io/"].iter().filter_map(|prefix| {
            let short = canonical.strip_prefix(prefix)?;
            let same = Reference::parse(short).is_ok_and(|again| again.canonical() == canonical);
            same.then(|| short.to_string())
        });
        shorter.into_iter().next().unwrap_or_else(|| canonical.clone())
    }

    pub(crate) fn as_client(&self) -> &oci_spec::distribution::Reference {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(input: &str) -> Result<Reference> {
        Reference::parse(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        let d = format!("sha256:{}", "0".repeat(64));
        let cases = [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            (
                "debian:bookworm-slim",
                "docker.io/library/debian:bookworm-slim",
                "debian:bookworm-slim",
            ),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("index.docker.io/library/debian:1", "docker.io/library/debian:1", "debian:1"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/a/b:T", "localhost:5000/a/b:T", "localhost:5000/a/b:T"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest"),
            ("ghcr.io/o/r:v1", "ghcr.io/o/r:v1", "ghcr.io/o/r:v1"),
            ("docker.io/library/y/d", "docker.io/library/y/d:latest", "library/y/d:latest"),
            ("docker.io/i.o/i", "docker.io/i.o/i:latest", "docker.io/i.o/i:latest"),
            (
                "docker.io/localhost/i",
                "docker.io/localhost/i:latest",
                "docker.io/localhost/i:latest",
            ),
            (
                &format!("debian@{d}"),
                &format!("docker.io/library/debian@{d}"),
                &format!("debian@{d}"),
            ),
            (
                &format!("debian:1@{d}"),
                &format!("docker.io/library/debian@{d}"),
                &format!("debian@{d}"),
            ),
        ];
        for (input, canonical, familiar) in cases {
            let r = Reference::parse(input).unwrap();
            assert_eq!(
                (r.canonical().as_str(), r.familiar().as_str()),
                (canonical, familiar),
                "{input}"
            );
            assert_eq!(Reference::parse(&r.familiar()).unwrap().canonical(), canonical);
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let d = "0".repeat(64);
        let cases = [
            "",
            " ",
            "a b",
            "-x",
            "a:",
            "a@",
            ":tag",
            "a/",
            "/a",
            "a//b",
            "Debian",
            "docker.io/Foo/bar",
            "a:té",
            "http://x/y",
            "a@sha256:00",
            "a@sha1:0000000000000000000000000000000000000000",
            "../x",
            &d,
        ];
        for case in cases {
            assert!(
                matches!(Reference::parse(case), Err(Error::InvalidReference { .. })),
                "{case}"
            );
        }
        let error = Reference::parse("Debian").unwrap_err().to_string();
        assert!(error.contains("lower case"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(s in "\\PC{0,80}") {
            if let Ok(r) = Reference::parse(&s) {
                let again = Reference::parse(&r.canonical()).unwrap();
                assert_eq!(again.canonical(), r.canonical());
            }
        }

        #[test]
        fn every_form_leads_back(
            s in "(docker\\.io/|index\\.docker\\.io/|localhost(:5000)?/|i\\.o/|library/|[a-zA-Z]{1,3}/){0,3}[a-zA-Z0-9]{1,3}([._-][a-z]{1,2})?(:[a-zA-Z0-9]{1,3})?"
        ) {
            if let Ok(r) = Reference::parse(&s) {
                for form in [r.canonical(), r.familiar()] {
                    assert_eq!(Reference::parse(&form).unwrap().canonical(), r.canonical(), "{s}: {form}");
                }
            }
        }
    }
}
