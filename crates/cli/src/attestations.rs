//! The attestations of a build's result: made once, attached to each manifest that is written.

use std::path::Path;
use std::time::SystemTime;

use build::{BuildOptions, Built, Predicate, Recipe, Workshop};
use oci::{Descriptor, Reference};

use crate::attest_options::Wishes;
use crate::dockerfile_input::Input;
use crate::failure::Failure;
use crate::progress::Display;

/// What is told of the result.
#[derive(Default)]
pub struct Attestations {
    predicates: Vec<Predicate>,
    names: Vec<Reference>,
}

impl Attestations {
    /// Searches the image and says how it was made, as was asked for. `started` is when the build began.
    pub fn make(
        wishes: &Wishes,
        display: &Display,
        workshop: &Workshop,
        (built, options): (&Built, &BuildOptions),
        input: &Input,
        names: &[Reference],
        started: SystemTime,
    ) -> Result<Self, Failure> {
        let recipe = Recipe {
            options,
            dockerfile: (&input.name, &input.text),
            times: times(options, started),
            names: names.to_vec(),
        };
        let mut predicates = Vec::new();
        if wishes.sbom {
            let step = display.step("generating sbom");
            let made = build::sbom(workshop, built, &recipe).map_err(Failure::from);
            if let Ok(sbom) = &made {
                step.note(&format!("found {} packages", sbom.packages()));
            }
            predicates.push(step.end(made)?);
        }
        if let Some(provenance) = &wishes.provenance {
            let step = display.step("generating provenance");
            let made = build::provenance(workshop, &recipe, provenance).map_err(Failure::from);
            predicates.push(step.end(made)?);
        }
        Ok(Self { predicates, names: names.to_vec() })
    }

    /// Stores them as statements about a manifest.
    pub fn attach(&self, workshop: &Workshop, subject: &Descriptor) -> Result<(), Failure> {
        if !self.predicates.is_empty() {
            let statements: Vec<_> = self
                .predicates
                .iter()
                .map(|predicate| predicate.about(&subject.digest, &self.names))
                .collect();
            workshop.store.attest(subject, &statements)?;
        }
        Ok(())
    }

    /// Writes them beside the files of an output that is a directory, as BuildKit does.
    pub fn write_into(&self, folder: &Path, built: &Built) -> Result<(), Failure> {
        for predicate in &self.predicates {
            let path = folder.join(predicate.file);
            let statement = predicate.about(&built.image.digest, &self.names);
            std::fs::write(&path, statement.json).map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// The provenance alone, for `--metadata-file`.
    pub fn provenance(&self) -> Option<&serde_json::Value> {
        self.predicates.iter().find_map(Predicate::provenance)
    }
}

/// When the build began and ends; nothing where its result is a function of its inputs, and `SOURCE_DATE_EPOCH` where it is given.
fn times(options: &BuildOptions, started: SystemTime) -> Option<(i64, i64)> {
    if let Some(epoch) = options.source_date_epoch {
        return Some((epoch, epoch));
    }
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or_default()
    };
    (!options.reproducible).then(|| (seconds(started), seconds(SystemTime::now())))
}
