//! The contexts that `context.txt` describes, and our own builds on them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use build::{BuildOptions, Built, MainContext, NoEvents, Workshop};
use oci::{Client, ClientOptions, ImageHandle, Reference, Store};

use crate::cases::Case;
use crate::listing;

const ALPINE: &str = "shared/images/alpine-minirootfs-3.20.3-x86_64.tar.gz";

pub struct Bench {
    folder: tempfile::TempDir,
    fixtures: PathBuf,
    alpine: Option<PathBuf>,
}

/// Base images that the cases may start from.
pub struct Bases {
    alpine: Option<ImageHandle>,
}

impl Bench {
    pub fn new(fixtures: &Path) -> Bench {
        let here = std::env::current_dir().unwrap();
        let alpine = here.ancestors().map(|folder| folder.join(ALPINE)).find(|path| path.exists());
        let fixtures = fixtures.to_owned();
        let bench =
            Bench { folder: tempfile::tempdir().unwrap(), fixtures: fixtures.clone(), alpine };
        let text = fs::read_to_string(fixtures.join("context.txt")).unwrap();
        let mut directories = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split('\t').collect();
            let path = bench.path(words[2]);
            let last = words.get(3).copied().unwrap_or_default();
            match words[0] {
                "d" => fs::create_dir(&path).unwrap(),
                "f" => fs::write(&path, last.replace("\\n", "\n")).unwrap(),
                "l" => symlink(last, &path).unwrap(),
                "h" => fs::hard_link(bench.path(last), &path).unwrap(),
                other => panic!("no such kind: {other}"),
            }
            let mode = u32::from_str_radix(words[1], 8).unwrap();
            match words[0] {
                "f" => finish(&path, mode),
                "d" => directories.push((path, mode)),
                _ => {}
            }
        }
        let archives = bench.path("main/archives");
        fs::create_dir(&archives).unwrap();
        for entry in fs::read_dir(fixtures.join("archives")).unwrap() {
            let entry = entry.unwrap();
            let copy = archives.join(entry.file_name());
            fs::copy(entry.path(), &copy).unwrap();
            finish(&copy, 0o644);
        }
        directories.push((archives, 0o755));
        directories.iter().rev().for_each(|(path, mode)| finish(path, *mode));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The ignore file of a Dockerfile, if the case has lines for one.
    pub fn write_ignore(&self, dockerfile: &Path, case: &Case) -> Option<PathBuf> {
        let lines: Vec<&str> = case.all("ignore:").collect();
        if lines.is_empty() {
            return None;
        }
        let mut path = dockerfile.as_os_str().to_owned();
        path.push(".dockerignore");
        fs::write(&path, lines.join("\n")).unwrap();
        Some(path.into())
    }

    /// The secrets of a case, in files.
    pub fn secrets(&self, case: &Case) -> Vec<(String, PathBuf)> {
        let secret = |word: &str| {
            let (id, value) = word.split_once('=').unwrap();
            let path = self.path(&format!("secret-{id}"));
            fs::write(&path, value).unwrap();
            (id.to_owned(), path)
        };
        case.all("secret:").map(secret).collect()
    }

    /// A private key without a passphrase.
    pub fn ssh_key(&self) -> PathBuf {
        self.fixtures.join("ssh-key")
    }

    pub fn workshop(&self) -> Workshop {
        let options = ClientOptions { offline: true, ..ClientOptions::default() };
        Workshop {
            interrupt: runtime::Interrupt::new(),
            store: Store::open(self.path("store")).unwrap(),
            client: Client::new(options).unwrap(),
            runtime: runtime::Runtime::with_cache_dir(&std::env::temp_dir().join("boxer-tests"))
                .unwrap(),
            guest: link::guest_wasm().ok(),
            events: Arc::new(NoEvents),
        }
    }

    pub fn bases(&self, workshop: &Workshop) -> Bases {
        let alpine = self.alpine.as_ref().map(|archive| {
            let folder = self.path("alpine");
            fs::create_dir(&folder).unwrap();
            fs::copy(archive, folder.join("root.tar.gz")).unwrap();
            let text = "FROM scratch\nADD root.tar.gz /\nCMD [\"/bin/sh\"]\n";
            let mut options = self.options(text).unwrap();
            options.context = Some(MainContext::directory(&folder).unwrap());
            let built = build::build(workshop, &options).unwrap();
            let image = built.image;
            let name = Reference::parse("alpine").unwrap();
            workshop.store.tag(&name, &image.descriptor).unwrap();
            image
        });
        Bases { alpine }
    }

    /// Whether what a case needs is here.
    pub fn can(&self, case: &Case, bases: &Bases) -> bool {
        let alpine = case.dockerfile.contains("FROM alpine");
        let run = case.dockerfile.lines().any(|line| line.starts_with("RUN"));
        (bases.alpine.is_some() || !alpine) && (link::guest_wasm().is_ok() || !run)
    }

    pub fn build(&self, workshop: &Workshop, case: &Case, bases: &Bases) -> String {
        let mut result = String::new();
        for (tag, text) in case.stages() {
            let built = self.options(&text).map_err(build::Error::from).and_then(|mut options| {
                for pair in case.all("arg:") {
                    let (name, value) = pair.split_once('=').unwrap();
                    options.build_args.insert(name.to_owned(), value.to_owned());
                }
                for (id, path) in self.secrets(case) {
                    options.secrets.insert(id, build::SecretSource::File(path));
                }
                if case.all("ssh").next().is_some() {
                    let agent = build::Agent::at(&[self.ssh_key()]).unwrap();
                    options.ssh.insert("default".to_owned(), agent);
                }
                let dockerfile = self.path("Dockerfile.ours");
                options.dockerfile_path =
                    self.write_ignore(&dockerfile, case).map(|_| dockerfile.clone());
                if let Some(platform) = case.all("flag:--platform=").next() {
                    // As the command line understands it.
                    options.platform = match platform.to_ascii_lowercase().as_str() {
                        "wasi/wasm" => dockerfile::scope::Platform::wasi(),
                        "wasip1/wasm" => dockerfile::scope::Platform::wasip1(),
                        other => panic!("{other}"),
                    };
                }
                options.no_cache = case.all("flag:").any(|flag| flag == "--no-cache");
                options.ulimits = case
                    .all("flag:--ulimit=")
                    .map(|text| build::rights::Ulimit::parse(text).unwrap())
                    .collect();
                options.shm_size = case
                    .all("flag:--shm-size=")
                    .find_map(|text| build::limits::size(text).unwrap());
                if tag.is_empty() {
                    options.target = case.all("target=").next().map(str::to_owned);
                }
                build::build(workshop, &options)
            });
            match built {
                Err(error) => {
                    let folder = self.folder.path().display().to_string();
                    return format!("error {error}\n").replace(&folder, "");
                }
                Ok(built) if tag.is_empty() => {
                    let alpine = case.dockerfile.contains("FROM alpine");
                    let base = bases.alpine.as_ref().filter(|_| alpine);
                    let skip =
                        base.map_or((0, 0), |base| (base.layers.len(), base.config.history.len()));
                    result = show(workshop, &built, skip);
                }
                Ok(built) => {
                    let name = Reference::parse(&tag).unwrap();
                    workshop.store.tag(&name, &built.image.descriptor).unwrap();
                }
            }
        }
        result
    }

    fn options(&self, text: &str) -> Result<BuildOptions, dockerfile::Error> {
        let other = ("other".to_owned(), self.path("other").display().to_string());
        let dockerfile = dockerfile::Dockerfile::parse(text)?;
        Ok(BuildOptions {
            context: Some(MainContext::directory(&self.path("main")).unwrap()),
            named_contexts: BTreeMap::from([other]),
            network: build::RunNetwork::None,
            ..BuildOptions::new(dockerfile)
        })
    }
}

fn show(workshop: &Workshop, built: &Built, skip: (usize, usize)) -> String {
    let layers = built.image.layers.iter().map(|layer| {
        let blob = workshop.store.open_blob(&layer.digest).unwrap();
        Box::new(flate2::read::GzDecoder::new(blob)) as Box<dyn Read>
    });
    let config = serde_json::to_value(&built.image.config).unwrap();
    listing::show(&config, layers.collect(), skip)
}

/// Sets mode and time.
fn finish(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}
