//! What a build tells of its result: SBOM and provenance.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Alpine's root, where it has been fetched.
const ALPINE: &str = "shared/images/alpine-minirootfs-3.20.3-x86_64.tar.gz";

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(dockerfile: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.file("Dockerfile", dockerfile.as_bytes());
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the context.
    fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Builds into the directory `out`.
    fn build(&self, options: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_boxer"))
            .args(["build", "-o", "type=local,dest=out", "-o", "type=oci,dest=image.tar"])
            .args(options)
            .arg("context")
            .current_dir(self.folder.path())
            .env("BOXER_HOME", self.path("store"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("SOURCE_DATE_EPOCH")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    fn statement(&self, name: &str) -> Value {
        let value: Value =
            serde_json::from_slice(&fs::read(self.path("out").join(name)).unwrap()).unwrap();
        assert_eq!(value["_type"], "https://in-toto.io/Statement/v0.1");
        value
    }

    /// The package URLs of the SBOM.
    fn urls(&self) -> BTreeSet<String> {
        let statement = self.statement("sbom.spdx.json");
        assert_eq!(statement["predicateType"], "https://spdx.dev/Document");
        let document = &statement["predicate"];
        assert_eq!(document["spdxVersion"], "SPDX-2.3");
        let packages = document["packages"].as_array().unwrap();
        let identifiers: BTreeSet<&str> =
            packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        assert_eq!(identifiers.len(), packages.len(), "identifiers are unique");
        let urls = packages
            .iter()
            .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str());
        urls.map(str::to_owned).collect()
    }
}

#[test]
fn packages_of_every_kind_are_found() {
    let home = Home::new("FROM scratch\nCOPY files /\n");
    let rpm = std::env::current_dir().unwrap().join("../../fixtures/attest/rpmdb.sqlite");
    home.file("files/etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n");
    home.file(
        "files/var/lib/dpkg/status",
        b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u8\n",
    );
    home.file(
        "files/var/lib/dpkg/status.d/tzdata",
        b"Package: tzdata\nArchitecture: all\nVersion: 2024a-0\n",
    );
    home.file("files/lib/apk/db/installed", b"P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n");
    home.file("files/usr/lib/sysimage/rpm/rpmdb.sqlite", &fs::read(rpm).unwrap());
    home.file(
        "files/usr/lib/python3.12/site-packages/Flask-3.0.0.dist-info/METADATA",
        b"Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\n",
    );
    home.file("files/app/node_modules/@a/b/package.json", br#"{"name":"@a/b","version":"1.0.0"}"#);
    home.file(
        "files/usr/lib/ruby/gems/3.3.0/specifications/rake-13.1.0.gemspec",
        b"Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.1.0\"\nend\n",
    );
    home.file("files/src/Cargo.lock", b"[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\n");
    home.build(&["--sbom"]);
    let urls = home.urls();
    for url in [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tzdata@2024a-0?arch=all&distro=debian-12",
        "pkg:apk/debian/musl@1.2.5-r0?arch=x86_64&distro=debian-12",
        "pkg:rpm/debian/openssl-libs@3.2.1-2.fc40?arch=x86_64&epoch=1&distro=debian-12",
        "pkg:pypi/flask@3.0.0",
        "pkg:npm/%40a/b@1.0.0",
        "pkg:gem/rake@13.1.0",
        "pkg:cargo/serde@1.0.1",
    ] {
        assert!(urls.contains(url), "{url}: {urls:#?}");
    }
    assert_eq!(urls.len(), 49, "rpm's keys of signatures are no packages");
}

#[test]
fn alpines_packages_are_found() {
    let here = std::env::current_dir().unwrap();
    let Some(archive) =
        here.ancestors().map(|folder| folder.join(ALPINE)).find(|path| path.exists())
    else {
        return;
    };
    let home = Home::new("FROM scratch\nADD alpine.tar.gz /\n");
    home.file("alpine.tar.gz", &fs::read(archive).unwrap());
    let said = home.build(&["--attest", "type=sbom"]);
    let urls = home.urls();
    assert_eq!(urls.len(), 14, "{said}");
    assert!(
        urls.contains("pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3"),
        "{urls:#?}"
    );
}

#[test]
fn provenance_says_how_and_keeps_secrets() {
    let home = Home::new("FROM scratch AS app\nARG A\nCOPY Dockerfile /$A\n");
    home.file("secret", b"hidden");
    let secret = format!("id=s,src={}", home.path("context/secret").display());
    let options = ["--build-arg", "A=valuable", "--secret", &secret, "--target", "app"];
    let with = |more: &[&str]| {
        home.build(&[&options[..], more].concat());
        home.statement("provenance.json")
    };
    let min = with(&["--provenance"]);
    assert_eq!(min["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(min["predicate"]["runDetails"]["builder"]["id"], "urn:boxer:cli");
    assert!(min["predicate"]["runDetails"]["metadata"]["startedOn"].is_string());
    assert!(!min.to_string().contains("valuable"), "{min}");
    let max = with(&[
        "--provenance=mode=max,builder-id=https://ci.example.org",
        "--metadata-file",
        "meta",
    ]);
    let request = &max["predicate"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:A"], "valuable");
    assert_eq!(request["args"]["target"], "app");
    assert_eq!(request["secrets"][0]["id"], "s");
    assert!(!max.to_string().contains("hidden"), "{max}");
    assert_eq!(max["predicate"]["runDetails"]["builder"]["id"], "https://ci.example.org");
    let metadata: Value = serde_json::from_slice(&fs::read(home.path("meta")).unwrap()).unwrap();
    assert_eq!(metadata["buildx.build.provenance"], max["predicate"]);
    let digest = metadata["boxer.image.digest"].as_str().unwrap();
    assert_eq!(max["subject"][0]["digest"]["sha256"], digest.trim_start_matches("sha256:"));

    // What is reproducible has no time of its own.
    let first = with(&["--provenance", "--reproducible"]);
    assert!(first["predicate"]["runDetails"]["metadata"]["startedOn"].is_null());
    let archive = fs::read(home.path("image.tar")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(with(&["--provenance", "--reproducible"]), first);
    assert!(fs::read(home.path("image.tar")).unwrap() == archive);
}
