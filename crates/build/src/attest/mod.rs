//! What an image is made of and how: SBOM and provenance as in-toto statements.

mod binaries;
mod languages;
mod packages;
mod provenance;
mod rpm;
mod spdx;
mod sqlite;
mod system;

pub use provenance::{Mode, Provenance};

use oci::{Digest, Statement};
use serde_json::{Value, json};

use crate::builder::{Built, Workshop};
use crate::error::Result;
use crate::options::BuildOptions;
use packages::Package;

/// Types of predicates.
const SBOM: &str = "https://spdx.dev/Document";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Of what attestations tell.
pub struct Recipe<'a> {
    /// The options of the build.
    pub options: &'a BuildOptions,
    /// The Dockerfile's name and text.
    pub dockerfile: (&'a str, &'a str),
    /// When the build began and ended, in seconds; none where the result is not to depend on it.
    pub times: Option<(i64, i64)>,
    /// The names that the result gets.
    pub names: Vec<oci::Reference>,
}

/// The parts of an SBOM or provenance that do not depend on the manifest they are about.
pub struct Predicate {
    /// The URI of what it says.
    pub kind: &'static str,
    /// The file's name in an output that is a directory.
    pub file: &'static str,
    value: Value,
    packages: usize,
}

/// The SBOM of an image's files: packages of dpkg, apk, rpm, pip, npm, gem, Go and cargo, as SPDX 2.3.
///
/// # Errors
/// The layers cannot be read.
pub fn sbom(workshop: &Workshop, built: &Built, recipe: &Recipe<'_>) -> Result<Predicate> {
    let tree = built.tree(&workshop.store)?;
    let mut warn = |text: &str| workshop.events.warning(text);
    let found = packages::find(tree.as_ref(), &mut warn)?;
    let name = recipe.names.first().map_or_else(|| "image".to_owned(), oci::Reference::familiar);
    let value = spdx::document(
        &name,
        &built.image.manifest.config.digest,
        recipe.times.map_or(0, |(_, end)| end),
        &found,
    );
    Ok(Predicate { kind: SBOM, file: "sbom.spdx.json", value, packages: found.len() })
}

/// How the image was made, as SLSA provenance 1.0.
///
/// # Errors
/// The Dockerfile cannot be planned.
pub fn provenance(
    workshop: &Workshop,
    recipe: &Recipe<'_>,
    wish: &Provenance,
) -> Result<Predicate> {
    let value = provenance::predicate(workshop, recipe, wish)?;
    Ok(Predicate { kind: PROVENANCE, file: "provenance.json", value, packages: 0 })
}

impl Predicate {
    /// How many packages an SBOM lists.
    pub fn packages(&self) -> usize {
        self.packages
    }

    /// What it says, if it is provenance.
    pub fn provenance(&self) -> Option<&Value> {
        (self.kind == PROVENANCE).then_some(&self.value)
    }

    /// The statement about the manifest of this digest.
    pub fn about(&self, digest: &Digest, names: &[oci::Reference]) -> Statement {
        let digests = json!({ digest.algorithm(): digest.hex() });
        let mut subjects: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": image_url(name), "digest": digests }))
            .collect();
        if subjects.is_empty() {
            subjects.push(json!({ "name": "_", "digest": digests }));
        }
        let value = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": self.kind,
            "subject": subjects,
            "predicate": self.value,
        });
        Statement { predicate_type: self.kind.to_owned(), json: value.to_string().into_bytes() }
    }
}

/// `pkg:docker/NAME@TAG?platform=linux%2Famd64` (the package-url specification's type docker).
fn image_url(name: &oci::Reference) -> String {
    let repository = match (name.registry(), name.repository()) {
        ("docker.io", repository) => {
            repository.strip_prefix("library/").unwrap_or(repository).to_owned()
        }
        (registry, repository) => format!("{registry}/{repository}"),
    };
    let version = match (name.tag(), name.digest()) {
        (_, Some(digest)) => digest.to_string(),
        (Some(tag), None) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    let version = packages::escaped(&version);
    format!("pkg:docker/{repository}@{version}?platform=linux%2Famd64")
}
