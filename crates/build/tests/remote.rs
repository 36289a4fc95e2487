//! ADD of files by URL and of Git repositories, from a web server of this test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use build::{BuildOptions, Built, MainContext, NoEvents, Workshop};
use oci::{Client, ClientOptions, Store};

/// Serves the files below a folder; the address.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut pair = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap_or_default();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let path = first.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap();
            if path == "/never" {
                // An answer that does not come while the connection lasts.
                std::thread::spawn(move || stream.read(&mut [0]));
                continue;
            }
            if path == "/pair" {
                // The first waits for the second, and no request after it.
                pair.push(stream);
                if pair.len() == 2 {
                    for mut stream in pair.drain(..) {
                        let _ = stream.write_all(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
                        );
                    }
                }
                continue;
            }
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
        let archives = std::env::current_dir().unwrap().join("../../fixtures/buildkit/archives");
        fs::copy(archives.join("plain.tar.gz"), web.join("plain.tar.gz")).unwrap();
        Bench { address: serve(web), folder }
    }

    fn workshop(&self) -> Workshop {
        let options = ClientOptions { retries: 0, ..ClientOptions::default() };
        Workshop {
            interrupt: runtime::Interrupt::new(),
            store: Store::open(self.folder.path().join("store")).unwrap(),
            client: Client::new(options).unwrap(),
            runtime: runtime::Runtime::with_cache_dir(&self.folder.path().join("cache")).unwrap(),
            guest: None,
            events: Arc::new(NoEvents),
        }
    }

    fn build(&self, text: &str) -> Result<(Workshop, Built), build::Error> {
        self.build_with(text, |_, _| {})
    }

    fn build_with(
        &self,
        text: &str,
        change: impl FnOnce(&Workshop, &mut BuildOptions),
    ) -> Result<(Workshop, Built), build::Error> {
        let text = text.replace("WEB", &self.address);
        let workshop = self.workshop();
        let mut options = BuildOptions::new(dockerfile::Dockerfile::parse(&text)?);
        change(&workshop, &mut options);
        let built = build::build(&workshop, &options)?;
        Ok((workshop, built))
    }

    /// Path, mode, time (0 if it is the build's) and content of the files of the last layer.
    fn files(&self, text: &str) -> Vec<String> {
        self.files_with(text, |_, _| {})
    }

    fn files_with(
        &self,
        text: &str,
        change: impl FnOnce(&Workshop, &mut BuildOptions),
    ) -> Vec<String> {
        let (workshop, built) = self.build_with(text, change).unwrap();
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
    // The same as a context, with this name and without.
    let url = |fragment: &str| format!("{}/r.git{fragment}", bench.address);
    let context = MainContext::remote(&bench.workshop(), &url("#v1:sub"), false).unwrap();
    let built = bench.files_with("FROM scratch\nCOPY . /x/\n", |_, options| {
        options.context = Some(context);
        options.named_contexts.insert("n".to_owned(), url(""));
    });
    assert_eq!(
        built.iter().map(|file| file.replace(" 644 0 ", " ")).collect::<Vec<_>>(),
        ["x/two 2"]
    );
    let built = bench.files_with("FROM scratch\nCOPY --from=n one /x/\n", |_, options| {
        options.named_contexts.insert("n".to_owned(), url(""));
    });
    assert_eq!(built, ["x/one 644 0 changed"]);
    let kept = MainContext::remote(&bench.workshop(), &url(""), true).unwrap();
    assert!(kept.dockerfile(Some(".git/HEAD")).is_ok());
}

/// A tar with these files of user 7.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn contexts_come_from_urls() {
    let bench = Bench::new();
    let text = "FROM scratch\nCOPY a /x/\n";
    let files = [("Dockerfile", text), ("a", "alpha"), ("sub/D", "other"), (".dockerignore", "a")];
    let tar = archive(&files);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).unwrap();
    let web = bench.folder.path().join("web");
    fs::write(web.join("context.tar.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(web.join("Dockerfile"), "FROM scratch\nCOPY context /y\n").unwrap();
    let remote = |path: &str| {
        MainContext::remote(&bench.workshop(), &format!("{}/{path}", bench.address), false).unwrap()
    };
    let context = remote("context.tar.gz");
    assert_eq!(context.dockerfile(None).unwrap().bytes, text.as_bytes());
    assert_eq!(context.dockerfile(Some("sub/D")).unwrap().bytes, b"other");
    let missing = context.dockerfile(Some("sub/E")).err().unwrap().to_string();
    assert!(missing.starts_with("failed to read dockerfile: open sub/E"), "{missing}");
    // As in BuildKit, what is ignored in a directory is not in an archive.
    let built = bench.files_with(text, |_, options| options.context = Some(context));
    assert_eq!(built, ["x/a 640 0 alpha"]);
    let alone = remote("Dockerfile");
    let text = String::from_utf8(alone.dockerfile(None).unwrap().bytes).unwrap();
    let built = bench.files_with(&text, |_, options| options.context = Some(alone));
    assert_eq!(built, [format!("y 600 784111777 {text}")]);
    // A named one is the file itself.
    let named = |options: &mut BuildOptions, value: &str| {
        let value = value.replace("WEB", &bench.address);
        options.named_contexts.insert("n".to_owned(), value);
    };
    let built = bench.files_with("FROM scratch\nCOPY --from=n / /z/\n", |_, options| {
        named(options, "WEB/file.txt");
    });
    assert_eq!(built, ["z/context 600 784111777 fetched"]);
    let failed = bench.build_with("FROM n\n", |_, options| named(options, "WEB/nothing"));
    let failed = failed.err().unwrap().to_string();
    assert!(failed.starts_with("build context \"n\": ") && failed.contains("404"), "{failed}");
    assert!(MainContext::remote(&bench.workshop(), "http://127.0.0.1:1/x", false).is_err());
}

#[test]
fn an_archive_that_is_a_bomb_is_no_context() {
    let bench = Bench::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(80 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let zeros = std::io::repeat(0).take(1 << 20);
    let archive = header.as_bytes().as_slice().chain(zeros);
    let failed = MainContext::archive(&bench.workshop(), archive, "it").err().unwrap().to_string();
    assert!(failed.contains("bytes of file contents"), "{failed}");
    assert!(!build::is_archive(b"FROM scratch\n") && build::is_archive(&[0x1f, 0x8b, 8, 0]));
}

#[test]
fn stages_are_built_at_the_same_time() {
    let bench = Bench::new();
    let text = "FROM scratch AS a\nADD WEB/pair /a\nFROM scratch AS unused\nADD WEB/never /\n\
                FROM scratch\nADD WEB/pair /b\nCOPY --from=a /a /c\n";
    let built = bench.build(text).unwrap().1;
    assert_eq!(built.image.layers.len(), 2);
}

/// What is left in the store's `tmp/`.
fn left_over(workshop: &Workshop) -> Vec<PathBuf> {
    let entries = fs::read_dir(workshop.store.path().join("tmp")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_error_ends_the_other_stages() {
    let bench = Bench::new();
    let text = "FROM scratch AS a\nADD WEB/never /a\nFROM scratch\nADD WEB/nothing /b\nCOPY --from=a /a /c\n";
    let error = bench.error(text);
    assert!(error.contains("404"), "{error}");
    assert_eq!(left_over(&bench.workshop()), Vec::<PathBuf>::new());
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let bench = Bench::new();
    let workshop = bench.workshop();
    let text = "FROM scratch AS a\nADD WEB/file.txt /a\nFROM a\nADD WEB/never /b\n";
    let file = dockerfile::Dockerfile::parse(&text.replace("WEB", &bench.address)).unwrap();
    let interrupt = workshop.interrupt.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        interrupt.give();
    });
    let error = build::build(&workshop, &BuildOptions::new(file)).err().unwrap();
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(left_over(&workshop), Vec::<PathBuf>::new());
}
