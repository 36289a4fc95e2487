//! The forms in which a box goes to a registry.

use std::fmt;
use std::str::FromStr;

use super::Client;
use crate::{Artifact, BoxHandle, Digest, Error, Progress, Reference, Result, Store};

/// How a box is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As a CNCF Wasm OCI artifact.
    #[default]
    Artifact,
    /// As a container image of the platform `wasi/wasm`.
    Image,
    /// As an artifact under the tag, and as an image under the tag with [`Form::IMAGE_SUFFIX`]: two manifests, because an index of
    /// both would be understood by neither kind of client.
    Both,
}

impl Form {
    /// What the image's tag has behind the artifact's.
    pub const IMAGE_SUFFIX: &'static str = "-image";
    /// The words for the forms.
    pub const NAMES: [&'static str; 3] = ["artifact", "image", "both"];
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Form, String> {
        match text {
            "artifact" => Ok(Form::Artifact),
            "image" => Ok(Form::Image),
            "both" => Ok(Form::Both),
            _ => Err(format!("unknown form {text:?}: it is one of {}", Form::NAMES.join(", "))),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Artifact => "artifact",
            Form::Image => "image",
            Form::Both => "both",
        })
    }
}

/// A manifest that is in a registry now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its name there.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
}

/// What was pulled.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// The image or box in the store.
    pub artifact: Artifact,
    /// Digest of the manifest that the registry has. A box that came as an image has another one in the store.
    pub digest: Digest,
}

impl Client {
    /// Pushes a box in one form, or in both.
    ///
    /// # Errors
    /// Those of [`Client::push`]; [`Error::ArtifactRefused`] where the registry takes container images alone.
    pub fn push_box(
        &self,
        reference: &Reference,
        store: &Store,
        handle: &BoxHandle,
        form: Form,
        progress: &dyn Progress,
    ) -> Result<Vec<Pushed>> {
        let mut parts = Vec::new();
        if form != Form::Image {
            parts.push(Pushed { reference: reference.clone(), digest: handle.digest.clone() });
        }
        if form != Form::Artifact {
            let reference = match form {
                Form::Both => beside(reference)?,
                _ => reference.clone(),
            };
            parts.push(Pushed { reference, digest: store.wasi_image(handle)?.digest });
        }
        for part in &parts {
            self.push(&part.reference, store, &part.digest, progress)?;
        }
        Ok(parts)
    }
}

/// `NAME:TAG-image`.
fn beside(reference: &Reference) -> Result<Reference> {
    let tag = reference.tag().unwrap_or("latest");
    let (registry, repository) = (reference.registry(), reference.repository());
    Reference::parse(&format!("{registry}/{repository}:{tag}{}", Form::IMAGE_SUFFIX)).map_err(
        |_| Error::InvalidReference {
            input: reference.familiar(),
            reason: format!("the tag is too long to have {} behind it", Form::IMAGE_SUFFIX),
        },
    )
}
