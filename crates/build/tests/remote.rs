//! ADD of files by URL and of Git repositories, from a web server of this test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use build::{BuildOptions, Built, NoEvents, Workshop};
use oci::{Client, ClientOptions, Store};

/// Serves the files below a folder; the address.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap_or_default();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let path = first.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap();
            if path == "/moved" {
                let head = "HTTP/1.1 302 Found\r\nLocation: /file.txt\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                continue;
            }
            let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

struct Bench {
    folder: tempfile::TempDir,
    address: String,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let web = folder.path().join("web");
        fs::create_dir(&web).unwrap();
        fs::write(web.join("file.txt"), "fetched").unwrap();
        let archives =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/buildkit/archives");
        fs::copy(archives.join("plain.tar.gz"), web.join("plain.tar.gz")).unwrap();
        Bench { address: serve(web), folder }
    }

    fn build(&self, text: &str) -> Result<(Workshop, Built), build::Error> {
        let text = text.replace("WEB", &self.address);
        let options = ClientOptions { retries: 0, ..ClientOptions::default() };
        let workshop = Workshop {
            store: Store::open(self.folder.path().join("store")).unwrap(),
            client: Client::new(options).unwrap(),
            runtime: runtime::Runtime::with_cache_dir(&self.folder.path().join("cache")).unwrap(),
            guest: None,
            events: Arc::new(NoEvents),
        };
        let options = BuildOptions {
            limits: build::limits::Limits::default(),
            dockerfile: dockerfile::Dockerfile::parse(&text)?,
            dockerfile_path: None,
            context: None,
            named_contexts: BTreeMap::new(),
            build_args: BTreeMap::new(),
            translation: runtime::Translation::default(),
            secrets: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            cpu: build::CpuLevel::default(),
            no_cache: false,
            no_cache_stages: Default::default(),
            pull: false,
            network: build::RunNetwork::None,
            hosts: Vec::new(),
            reproducible: false,
            source_date_epoch: None,
        };
        let built = build::build(&workshop, &options)?;
        Ok((workshop, built))
    }

    /// Path, mode, time (0 if it is the build's) and content of the files of the last layer.
    fn files(&self, text: &str) -> Vec<String> {
        let (workshop, built) = self.build(text).unwrap();
        let layer = built.image.layers.last().expect("a layer");
        let blob = workshop.store.open_blob(&layer.digest).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(blob));
        let mut found = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            if !entry.header().entry_type().is_file() {
                continue;
            }
            entry.read_to_end(&mut content).unwrap();
            let content = String::from_utf8_lossy(&content).into_owned();
            let (mode, time) = (entry.header().mode().unwrap(), entry.header().mtime().unwrap());
            let time = if time > 1_000_000_000 { 0 } else { time };
            found.push(format!("{} {mode:o} {time} {content}", entry.path().unwrap().display()));
        }
        found
    }

    fn error(&self, text: &str) -> String {
        match self.build(text) {
            Ok(_) => panic!("{text} builds"),
            Err(error) => error.to_string().replace(&self.address, "WEB"),
        }
    }
}

#[test]
fn files_are_added_by_url() {
    let bench = Bench::new();
    let of = |add: &str| bench.files(&format!("FROM scratch\nADD {add}\n"));
    assert_eq!(of("WEB/file.txt /x/"), ["x/file.txt 600 784111777 fetched"]);
    assert_eq!(of("WEB/file.txt?a=b /x/y"), ["x/y 600 784111777 fetched"]);
    assert_eq!(of("WEB/moved /x/"), ["x/moved 600 784111777 fetched"]);
    assert_eq!(of("--chmod=755 --chown=5 WEB/file.txt /f"), ["f 755 784111777 fetched"]);
    // An archive from elsewhere stays one unless it is to be taken apart.
    let kept = bench.build("FROM scratch\nADD WEB/plain.tar.gz /x/\n").unwrap().1;
    assert_eq!(kept.image.layers.len(), 1);
    let unpacked = of("--unpack WEB/plain.tar.gz /x/");
    assert!(unpacked.contains(&"x/inner/file 640 1234 inside".to_owned()), "{unpacked:?}");
    let sum = oci::Digest::of(b"fetched");
    assert_eq!(of(&format!("--checksum={sum} WEB/file.txt /f")), ["f 600 784111777 fetched"]);
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let bench = Bench::new();
    let of = |add: &str| bench.error(&format!("FROM scratch\nADD {add}\n"));
    assert!(of("WEB/nothing /x/").contains("404"), "{}", of("WEB/nothing /x/"));
    let other = oci::Digest::of(b"other");
    let wrong = of(&format!("--checksum={other} WEB/file.txt /f"));
    assert!(wrong.contains("file") && wrong.contains(other.as_str()), "{wrong}");
    assert!(of("--checksum=md5:1 WEB/file.txt /f").starts_with("invalid --checksum"));
    assert!(of("http://127.0.0.1:1/x /f").contains("127.0.0.1:1"));
    assert!(of("WEB/none.git /f").contains("git fetch"), "{}", of("WEB/none.git /f"));
}

#[test]
fn repositories_are_added() {
    let bench = Bench::new();
    let work = bench.folder.path().join("work");
    fs::create_dir_all(work.join("sub")).unwrap();
    let git = |words: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=main"])
            .args(words)
            .current_dir(&work)
            .output();
        let Ok(output) = output else { return None };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    if git(&["init", "-q"]).is_none() {
        println!("skipped: no git here");
        return;
    }
    fs::write(work.join("one"), "1").unwrap();
    fs::write(work.join("sub/two"), "2").unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    git(&["tag", "v1"]);
    let first = git(&["rev-parse", "HEAD"]).unwrap();
    fs::write(work.join("one"), "changed").unwrap();
    git(&["commit", "-qam", "second"]);
    let bare = bench.folder.path().join("web/r.git");
    git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let updated = Command::new("git").arg("update-server-info").current_dir(&bare).status();
    assert!(updated.unwrap().success());
    let of = |add: &str| {
        let files = bench.files(&format!("FROM scratch\nADD {add}\n"));
        files.iter().map(|file| file.replace(" 644 0 ", " ")).collect::<Vec<_>>()
    };
    assert_eq!(of("WEB/r.git /x"), ["x/one changed", "x/sub/two 2"]);
    assert_eq!(of("WEB/r.git#v1 /x"), ["x/one 1", "x/sub/two 2"]);
    assert_eq!(of("WEB/r.git#v1:sub /x/"), ["x/two 2"]);
    assert_eq!(of("WEB/r.git?tag=v1&subdir=sub /x/"), ["x/two 2"]);
    assert_eq!(of(&format!("WEB/r.git#{first} /x/")), ["x/one 1", "x/sub/two 2"]);
    assert!(of("--keep-git-dir WEB/r.git /x/").iter().any(|file| file.starts_with("x/.git/HEAD")));
    let text = format!("FROM scratch\nADD --checksum={first} WEB/r.git /x\n");
    assert!(bench.error(&text).contains("its commit is"));
    assert!(bench.error("FROM scratch\nADD WEB/r.git#:nowhere /x\n").contains("no directory"));
}
