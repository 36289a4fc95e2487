//! `--output`: forms of the result and where they go.

use std::io::Write;
use std::path::{Path, PathBuf};

use build::{BoxForm, Built, LinkedBox, Workshop};
use oci::{Form, Reference};

use crate::args::Global;
use crate::failure::Failure;
use crate::progress::Step;
use crate::session;

/// One form of the result and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A box as a file.
    Box(BoxForm, PathBuf),
    /// A module, its files and a page in a directory for a static file server.
    Web(PathBuf),
    /// The image as an OCI archive, or a layout where the place is a directory, which `folder` makes.
    Oci { path: PathBuf, names: Vec<Reference>, folder: bool },
    /// The image for `docker load`.
    Docker { path: PathBuf, names: Vec<Reference> },
    /// The files as one tar.
    Tar(PathBuf),
    /// The files in a directory.
    Local(PathBuf),
    /// The Linux image under names in the store (the tags if none is given), and in their registries with `push`.
    Image { names: Vec<Reference>, push: bool },
    /// The box in the registries of names (the tags if none is given).
    PushedBox { names: Vec<Reference>, form: Form },
}

const KINDS: [&str; 9] =
    ["wasm", "component", "web", "oci", "docker", "tar", "local", "image", "registry"];

/// What buildx has besides, and is not carried out; what asks for what is done anyway is let pass.
const OTHERS: [(&str, &str); 10] = [
    ("annotation", ""),
    ("compression", "gzip"),
    ("compression-level", ""),
    ("dangling-name-prefix", ""),
    ("force-compression", "false"),
    ("name-canonical", "false"),
    ("oci-mediatypes", "true"),
    ("push-by-digest", "false"),
    // With SOURCE_DATE_EPOCH no file is younger.
    ("rewrite-timestamp", "true"),
    ("unpack", "false"),
];

/// `PATH`, or `type=T,dest=PATH` with `network=none` for a component; a field in quotes may have commas: `"name=A,B"`.
pub fn parse(text: &str) -> Result<Output, Failure> {
    let fields = fields(text);
    let named = |field: &String| {
        matches!(
            field.split_once('='),
            Some(("type" | "dest" | "name" | "push" | "network" | "as", _))
        )
    };
    if !fields.iter().all(named) && !text.starts_with("type=") {
        return Ok(Output::Box(BoxForm::Module, PathBuf::from(text)));
    }
    let (mut kind, mut dest, mut push) = ("wasm".to_owned(), None, false);
    let (mut names, mut folder) = (Vec::new(), None);
    let (mut network, mut form) = (None, None);
    let wrong = |what: &str| Failure::usage(format!("invalid --output {text:?}: {what}"));
    for field in &fields {
        match field.split_once('=') {
            Some(("type", value)) => kind = value.to_owned(),
            Some(("dest", value)) if !value.is_empty() => dest = Some(PathBuf::from(value)),
            Some(("name", value)) => {
                for name in value.split(',') {
                    names.push(Reference::parse(name).map_err(Failure::usage)?);
                }
            }
            Some(("tar", value @ ("true" | "false"))) => folder = Some(value == "false"),
            Some(("network", "none")) => network = Some(BoxForm::ComponentWithoutNetwork),
            Some(("network", "host")) => network = Some(BoxForm::Component),
            Some(("as", value)) => form = Some(value.parse::<Form>().map_err(|e| wrong(&e))?),
            Some(("push", value @ ("true" | "false"))) => push = value == "true",
            other => match other.and_then(|(key, value)| Some((other_field(key)?, value))) {
                Some(((_, idle), value)) if value == idle => {}
                Some(((key, _), _)) => return Err(wrong(&format!("{key}= is not supported"))),
                None => {
                    return Err(wrong(&format!(
                        "{field:?} is none of type=, dest=, name=, push=, tar=, as=, network=host and network=none"
                    )));
                }
            },
        }
    }
    if !KINDS.contains(&kind.as_str()) {
        let failure = Failure::usage(format!(
            "unsupported output type {kind:?}: boxer writes {}",
            KINDS.join(", ")
        ));
        return Err(match dockerfile::did_you_mean(&kind, KINDS) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure,
        });
    }
    if network.is_some() && kind != "component" {
        return Err(wrong(&format!(
            "network= is for type=component; what a {kind} may reach is decided when it runs"
        )));
    }
    match (kind.as_str(), &dest) {
        ("image" | "registry", Some(_)) => {
            return Err(wrong(&format!(
                "type={kind} goes to a store or registry and takes no dest="
            )));
        }
        _ if folder.is_some() && kind != "oci" => return Err(wrong("tar= belongs to type=oci")),
        ("image", None) if form.is_none() => return Ok(Output::Image { names, push }),
        ("registry", None) => {
            return Ok(match form {
                Some(form) => Output::PushedBox { names, form },
                None => Output::Image { names, push: true },
            });
        }
        _ if form.is_some() => return Err(wrong("as= belongs to type=registry")),
        _ if push => return Err(wrong("push= belongs to type=image and type=registry")),
        ("oci" | "docker", _) => {}
        _ if !names.is_empty() => {
            return Err(wrong("name= belongs to type=image, registry, oci and docker"));
        }
        _ => {}
    }
    let dest = dest.ok_or_else(|| Failure::usage(format!("--output {text:?} needs dest=PATH")))?;
    Ok(match kind.as_str() {
        "oci" => Output::Oci { path: dest, names, folder: folder.unwrap_or(false) },
        "docker" => Output::Docker { path: dest, names },
        "tar" => Output::Tar(dest),
        "local" => Output::Local(dest),
        "web" => Output::Web(dest),
        "component" => Output::Box(network.unwrap_or(BoxForm::Component), dest),
        _ => Output::Box(BoxForm::Module, dest),
    })
}

/// A line of CSV.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => {
                if let Some(field) = fields.last_mut() {
                    field.push(letter);
                }
            }
        }
    }
    fields
}

fn other_field(key: &str) -> Option<(&'static str, &'static str)> {
    OTHERS.into_iter().find(|(known, _)| *known == key)
}

impl Output {
    /// Whether it needs the box and not the image alone.
    pub fn box_form(&self) -> Option<BoxForm> {
        match self {
            Output::Box(form, _) => Some(*form),
            Output::Web(_) => Some(BoxForm::Module),
            _ => None,
        }
    }

    /// The name of the step that writes it, as buildx calls it.
    pub fn title(&self) -> String {
        match self {
            Output::Box(BoxForm::Module, _) => "exporting to wasm",
            Output::Box(..) => "exporting to component",
            Output::Web(_) => "exporting to web",
            Output::Oci { .. } => "exporting to oci image format",
            Output::Docker { .. } => "exporting to docker image format",
            Output::Tar(_) => "exporting to client tarball",
            Output::Local(_) => "exporting to client directory",
            Output::Image { .. } => "exporting to image",
            Output::PushedBox { .. } => "pushing the box",
        }
        .to_owned()
    }

    /// Whether the image itself is written, with its manifest.
    pub fn is_image(&self) -> bool {
        matches!(self, Output::Oci { .. } | Output::Docker { .. } | Output::Image { .. })
    }

    /// Writes it; gives a remark for people.
    pub fn write(
        &self,
        global: &Global,
        workshop: &Workshop,
        built: &Built,
        tags: &[Reference],
        step: &Step,
        mut link: impl FnMut(BoxForm) -> Result<LinkedBox, Failure>,
    ) -> Result<String, Failure> {
        let place = match self {
            Output::Box(form, path) => {
                let linked = link(*form)?;
                match to_stdout(path) {
                    true => copy_to_stdout(&mut workshop.store.open_blob(&linked.digest)?)?,
                    false => {
                        build::copy_box(&workshop.store, &linked, path)?;
                        build::ready_box(workshop, path);
                    }
                }
                path
            }
            Output::Web(path) => {
                let linked = link(BoxForm::Module)?;
                let web = build::write_web(workshop, built, &linked, path)?;
                let mb = |bytes: u64| bytes as f64 / 1e6;
                step.note(&format!(
                    "{:.1} MB of code, {:.1} MB of files in {} chunks, of which a start takes {} ({:.1} MB)",
                    mb(web.module),
                    mb(web.chunks.1),
                    web.chunks.0,
                    web.start.0,
                    mb(web.start.1)
                ));
                path
            }
            Output::Oci { path, names, folder } => {
                let name = names.first().or(tags.first());
                if *folder {
                    let fail = |error| Failure::new(format!("{}: {error}", path.display()));
                    std::fs::create_dir_all(path).map_err(fail)?;
                }
                match to_stdout(path) {
                    true => oci::export_archive(
                        &workshop.store,
                        &built.image.digest,
                        &mut std::io::stdout().lock(),
                        name,
                    )?,
                    false => build::write_oci(workshop, built, name, path)?,
                }
                path
            }
            Output::Docker { path, names } => {
                let tags = if names.is_empty() { tags } else { names };
                let (store, digest) = (&workshop.store, &built.image.digest);
                match to_stdout(path) {
                    true => {
                        let mut out = std::io::stdout().lock();
                        oci::export_docker_archive(store, digest, &mut out, tags)?;
                    }
                    false => build::write_file(path, |out| {
                        Ok(oci::export_docker_archive(store, digest, out, tags)?)
                    })?,
                }
                path
            }
            Output::Tar(path) => {
                match to_stdout(path) {
                    true => build::write_tar(workshop, built, &mut std::io::stdout().lock())?,
                    false => build::write_file(path, |out| build::write_tar(workshop, built, out))?,
                }
                path
            }
            Output::Local(path) => {
                build::write_local(workshop, built, path)?;
                path
            }
            Output::Image { names, push } => {
                return image(global, workshop, built, names, tags, push.then_some(step));
            }
            Output::PushedBox { names, form } => {
                let linked = link(BoxForm::default())?;
                let handle = build::store_box(workshop, built, &linked, None)?;
                return push_box(global, workshop, &handle, *form, names, tags, step);
            }
        };
        Ok(format!("writing {}", place.display()))
    }
}

fn image(
    global: &Global,
    workshop: &Workshop,
    built: &Built,
    names: &[Reference],
    tags: &[Reference],
    push: Option<&Step>,
) -> Result<String, Failure> {
    let names = if names.is_empty() { tags } else { names };
    if names.is_empty() {
        return Err(Failure::usage("--output type=image needs name=NAME or a --tag"));
    }
    let mut said = Vec::new();
    for name in names {
        if tags.contains(name) {
            // The tag leads to the box; the image is found beside it.
            workshop.store.tag_image_of(name, &built.image.descriptor)?;
        } else {
            workshop.store.tag(name, &built.image.descriptor)?;
        }
        if let Some(step) = push {
            let digest = &built.image.digest;
            session::client(global)?.push(name, &workshop.store, digest, step)?;
        }
        said.push(name.familiar());
    }
    let verb = if push.is_some() { "pushed the image" } else { "named the image" };
    Ok(format!("{verb} {}", said.join(", ")))
}

fn push_box(
    global: &Global,
    workshop: &Workshop,
    handle: &oci::BoxHandle,
    form: Form,
    names: &[Reference],
    tags: &[Reference],
    step: &Step,
) -> Result<String, Failure> {
    let names = if names.is_empty() { tags } else { names };
    if names.is_empty() {
        return Err(Failure::usage("--output type=registry needs name=NAME or a --tag"));
    }
    let client = session::client(global)?;
    let mut said = Vec::new();
    for name in names {
        for pushed in client.push_box(name, &workshop.store, handle, form, step)? {
            said.push(pushed.reference.familiar());
        }
    }
    Ok(format!("pushed the box {}", said.join(", ")))
}

fn to_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn copy_to_stdout(file: &mut dyn std::io::Read) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match std::io::copy(file, &mut out).and_then(|_| out.flush()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => {
            other.map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BoxForm, Form, Output, Reference, parse};
    use std::path::PathBuf;

    #[test]
    fn outputs_are_paths_or_fields() {
        let of = |text: &str| parse(text).map_err(|failure| failure.message);
        let path = || PathBuf::from("a=b.wasm");
        assert_eq!(of("a=b.wasm"), Ok(Output::Box(BoxForm::Module, path())));
        assert_eq!(of("type=component,dest=a=b.wasm"), Ok(Output::Box(BoxForm::Component, path())));
        let without = of("type=component,network=none,dest=a=b.wasm");
        assert_eq!(without, Ok(Output::Box(BoxForm::ComponentWithoutNetwork, path())));
        assert!(of("type=wasm,network=none,dest=x").is_err_and(|text| text.contains("network=")));
        let oci = |folder, names: &[&str]| {
            let names = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
            Ok(Output::Oci { path: PathBuf::from("x"), names, folder })
        };
        assert_eq!(of("type=oci,dest=x"), oci(false, &[]));
        assert_eq!(of("type=oci,dest=x,tar=false,compression=gzip"), oci(true, &[]));
        assert_eq!(of("type=oci,\"name=a,b:1\",dest=x"), oci(false, &["a", "b:1"]));
        assert_eq!(of("type=local,dest=out"), Ok(Output::Local(PathBuf::from("out"))));
        assert_eq!(of("dest=out,type=tar"), Ok(Output::Tar(PathBuf::from("out"))));
        assert_eq!(of("type=image,push=true"), Ok(Output::Image { names: Vec::new(), push: true }));
        assert_eq!(of("type=registry"), Ok(Output::Image { names: Vec::new(), push: true }));
        let both = Output::PushedBox { names: Vec::new(), form: Form::Both };
        assert_eq!(of("type=registry,as=both"), Ok(both));
        assert!(of("type=image,as=both").is_err_and(|text| text.contains("as= belongs")));
        assert!(of("type=registry,as=index").is_err_and(|text| text.contains("artifact, image")));
        assert!(of("type=wsm,dest=x").is_err_and(|text| text.contains("unsupported output type")));
        for key in ["compression=zstd", "rewrite-timestamp=false", "push-by-digest=true"] {
            let text = of(&format!("type=image,{key}"));
            assert!(text.is_err_and(|text| text.contains("= is not supported")), "{key}");
        }
        for bad in [
            "type=wasm",
            "type=image,dest=x",
            "type=oci,dest=x,push=true",
            "type=oci,x=y",
            "type=tar,dest=x,name=a",
            "type=docker,dest=x,tar=false",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
