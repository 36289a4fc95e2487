//! `boxer serve`, with the server of `fixtures/serve`. These need gcc, and the guest program in the `boxer` under test; without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::Home;

const PATIENCE: Duration = Duration::from_secs(60);

/// With the boxes `ready.wasm`, a snapshot of the server where it listens, and `boot.wasm`, which begins with it. None where there is no
/// guest program.
fn home() -> Option<&'static Home> {
    static HOME: OnceLock<Option<Home>> = OnceLock::new();
    HOME.get_or_init(Home::new).as_ref()
}

impl Home {
    fn new() -> Option<Home> {
        let home = Home::empty();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/serve/server.c");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-static", "-pthread"]).arg(source).arg("-o");
        assert!(gcc.arg(home.path("context/server")).status().unwrap().success());
        let text =
            "FROM scratch\nCOPY --chmod=755 server /\nENTRYPOINT [\"/server\"]\nEXPOSE 8000\n";
        for (file, options) in [
            ("ready.wasm", &["--snapshot=ready"][..]),
            ("boot.wasm", &[]),
            ("type=component,dest=component.wasm", &["--snapshot=ready"]),
        ] {
            if !home.builds(text, &[&["-o", file], options].concat()) {
                return None;
            }
        }
        Some(home)
    }

    fn serve(&self, args: &[&str]) -> Service {
        let mut boxer = self.boxer();
        boxer.arg("serve").args(args).args(["--addr", "127.0.0.1:0"]);
        let mut child = boxer.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let url = line.split("http://").nth(1).unwrap_or_else(|| panic!("{line:?}"));
        let at = url.split_whitespace().next().unwrap().parse().unwrap();
        Service { child, lines, at }
    }
}

struct Service {
    child: Child,
    lines: BufReader<ChildStderr>,
    at: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: status, head and body.
type Answer = (u16, String, Vec<u8>);

impl Service {
    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }

    fn get(&self, path: &str) -> Answer {
        ask(&mut self.connect(), path)
    }

    fn text(&self, path: &str) -> String {
        let (status, head, body) = self.get(path);
        assert_eq!(status, 200, "{head}{}", String::from_utf8_lossy(&body));
        String::from_utf8(body).unwrap()
    }

    /// The rest of what it says, and its status, after a signal.
    fn end(mut self, signal: &str) -> (String, i32) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut said = String::new();
        self.lines.read_to_string(&mut said).unwrap();
        (said, self.child.wait().unwrap().code().unwrap())
    }
}

fn ask(stream: &mut BufReader<TcpStream>, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn answer(stream: &mut BufReader<TcpStream>) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "it ends in {head:?}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some(length) = lower.split("content-length: ").nth(1) {
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        body.resize(length, 0);
        stream.read_exact(&mut body).unwrap();
    } else if lower.contains("transfer-encoding: chunked") {
        while let Some(chunk) = chunk(stream) {
            body.extend(chunk);
        }
    }
    (status, head, body)
}

fn chunk(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let size = usize::from_str_radix(line.trim(), 16).unwrap();
    let mut data = vec![0; size + 2];
    stream.read_exact(&mut data).unwrap();
    data.truncate(size);
    (size > 0).then_some(data)
}

#[test]
fn each_request_has_an_instance_of_its_own() {
    let Some(home) = home() else { return };
    for file in ["ready.wasm", "boot.wasm"] {
        let late: &[&str] = if file == "boot.wasm" { &["late"] } else { &[] };
        let service = home.serve(&[&[file], late].concat());
        let mut one = service.connect();
        for _ in 0..3 {
            let (status, _, body) = ask(&mut one, "/count");
            assert_eq!(
                (status, body.as_slice()),
                (200, &b"connection 1, process 1\n"[..]),
                "{file}"
            );
        }
        assert_eq!(service.text("/count"), "connection 1, process 1\n", "{file}");
    }
}

#[test]
fn instances_that_stay_keep_their_connections() {
    let Some(home) = home() else { return };
    for (file, late) in [("ready.wasm", &[][..]), ("boot.wasm", &["late"][..])] {
        let service = home.serve(&[&["--reuse", file], late].concat());
        assert_eq!(service.text("/count"), "connection 1, process 1\n");
        assert_eq!(
            service.text("/count"),
            "connection 2, process 2\n",
            "the connection inside stands"
        );
        // Many at once.
        let start = Instant::now();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..10).map(|_| scope.spawn(|| service.text("/sleep/500"))).collect();
            all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), "slept\n"));
        });
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        // It is started anew when it has ended.
        let (status, _, body) = service.get("/end");
        assert_eq!(
            (status, body),
            (502, b"502 Bad Gateway: the box ended with status 3\n".to_vec())
        );
        assert_eq!(service.text("/count"), "connection 1, process 1\n");
    }
}

#[test]
fn heads_and_bodies_go_through() {
    let Some(home) = home() else { return };
    for args in [&["ready.wasm"][..], &["--reuse", "ready.wasm"]] {
        let service = home.serve(args);
        let mut stream = service.connect();
        let request = "GET /head?a=%20b HTTP/1.1\r\nHost: here:1\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\nX-One: 3\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (status, head, body) = answer(&mut stream);
        // The path has a query: it is not the one that shows heads.
        assert_eq!((status, body.as_slice()), (200, &b"hello\n"[..]), "{args:?}");
        assert!(head.to_ascii_lowercase().contains("x-kept: a, b\r\n"), "{head}");
        let request = request.replace("?a=%20b", "");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let text = String::from_utf8(answer(&mut stream).2).unwrap().to_ascii_lowercase();
        assert!(text.starts_with("get /head http/1.1\n"), "{text}");
        assert!(text.contains("host: here:1\n") && text.contains("x-one: 1\n"), "{text}");
        assert!(text.contains("x-one: 3\n") && !text.contains("x-two"), "{text}");

        // 20 MB, more than any queue holds.
        let (status, _, body) = service.get("/zeros/20000000");
        assert_eq!((status, body.len()), (200, 20_000_000));

        let mut stream = service.connect();
        let data: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", data.len());
        let mut writer = stream.get_ref().try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(head.as_bytes()).unwrap();
                writer.write_all(&data).unwrap();
            });
            assert!(answer(&mut stream).2 == data);
        });
        let head = "HEAD /zeros/500 HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut stream = service.connect();
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    }
}

#[test]
fn bodies_stream_both_ways() {
    let Some(home) = home() else { return };
    for args in [&["ready.wasm"][..], &["--reuse", "ready.wasm"]] {
        let service = home.serve(args);
        let mut stream = service.connect();
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        let mut begun = false;
        for n in 0..5_u8 {
            stream.get_mut().write_all(b"1000\r\n").unwrap();
            stream.get_mut().write_all(&[n; 4096]).unwrap();
            stream.get_mut().write_all(b"\r\n").unwrap();
            // It comes back before more is sent.
            while !begun {
                line.clear();
                stream.read_line(&mut line).unwrap();
                begun = line == "\r\n";
            }
            let mut back = Vec::new();
            while back.len() < 4096 {
                back.extend(chunk(&mut stream).unwrap());
            }
            assert_eq!(back, [n; 4096], "{args:?}");
        }
        stream.get_mut().write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(chunk(&mut stream), None);
    }
}

#[test]
fn what_gets_no_answer_is_told_why() {
    let Some(home) = home() else { return };
    for args in [
        &["--request-timeout", "2", "ready.wasm"][..],
        &["--request-timeout", "2", "--reuse", "ready.wasm"],
    ] {
        let service = home.serve(args);
        for (path, status, reason) in [
            ("/hang-up", 502, "the server closed the connection without an answer"),
            ("/noise", 502, "the server's answer is not HTTP"),
            ("/sleep/60000", 504, "the server has not answered within 2 s"),
            ("/end", 502, "the box ended with status 3"),
            ("/", 200, "hello"),
        ] {
            let (found, _, body) = service.get(path);
            let body = String::from_utf8_lossy(&body);
            assert!(found == status && body.contains(reason), "{args:?} {path}: {found} {body}");
        }
        let mut stream = service.connect();
        stream.get_mut().write_all(b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert!(all.ends_with(b"half"), "{}", String::from_utf8_lossy(&all));
        let (said, code) = service.end("-TERM");
        assert!(said.contains("/sleep/60000: 504") && code == 0, "{code} {said}");
    }
}

#[test]
fn hostile_requests_are_refused() {
    let Some(home) = home() else { return };
    let service = home.serve(&["--reuse", "ready.wasm"]);
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for (request, wanted) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 400),
        ("CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\n\r\n", 501),
        (&long, 431),
    ] {
        let mut stream = service.connect();
        // It may be refused before it was sent whole.
        let _ = stream.get_mut().write_all(request.as_bytes());
        let mut line = String::new();
        let _ = stream.read_line(&mut line);
        let start = &request[..request.len().min(90)];
        assert!(line.starts_with(&format!("HTTP/1.1 {wanted}")), "{start:?}: {line:?}");
    }
    // With two lengths the one that HTTP says counts, and the server hears of no other.
    let mut stream = service.connect();
    let request = "POST /head HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                   GET /count HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let (status, _, body) = answer(&mut stream);
    let text = String::from_utf8(body).unwrap().to_ascii_lowercase();
    assert!(status == 400 || !text.contains("content-length: 4"), "{status} {text}");
    assert_eq!(service.text("/"), "hello\n");
}

#[test]
fn there_are_only_so_many_at_once() {
    let Some(home) = home() else { return };
    let service = home.serve(&["--instances", "2", "--queue", "1", "ready.wasm"]);
    let statuses = std::thread::scope(|scope| {
        let ask = |n: u64| {
            let service = &service;
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(n * 300));
                service.get("/sleep/2500").0
            })
        };
        let all: Vec<_> = (0..4).map(ask).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses, [200, 200, 200, 503]);
}

#[test]
fn what_a_program_does_after_its_answer_is_done() {
    let Some(home) = home() else { return };
    let service = home.serve(&["ready.wasm"]);
    assert_eq!(service.text("/after"), "before\n");
    std::thread::sleep(Duration::from_secs(2));
    let (said, _) = service.end("-TERM");
    assert!(said.contains("after the answer\n"), "{said}");
}

#[test]
fn a_signal_lets_requests_end_and_a_second_one_does_not() {
    let Some(home) = home() else { return };
    for (again, wanted) in [(false, 200), (true, 0)] {
        let service = home.serve(&["ready.wasm"]);
        let at = service.at;
        let asked = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /sleep/1500 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            let mut line = String::new();
            let _ = BufReader::new(stream).read_line(&mut line);
            line.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
        });
        std::thread::sleep(Duration::from_millis(500));
        if again {
            let pid = service.child.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        let (_, code) = service.end("-TERM");
        assert_eq!((asked.join().unwrap(), code), (wanted, 0));
        assert!(TcpStream::connect(at).is_err());
    }
}

#[test]
fn what_cannot_be_served_says_why() {
    let Some(home) = home() else { return };
    for (args, reason) in [
        (
            &["--start-timeout", "1", "boot.wasm", "never"][..],
            "nothing in the box listens at port 8000",
        ),
        (
            &["--port", "81", "--start-timeout", "1", "ready.wasm"],
            "nothing in the box listens at port 81",
        ),
        (&["ready.wasm", "word"], "arguments cannot be given now"),
        (&["-it", "ready.wasm"], "no terminal"),
        (&["-p", "0:8000", "--per-request", "ready.wasm"], "add --reuse"),
        (&["--name", "x", "ready.wasm"], "no names"),
        (&["missing.wasm"], "missing.wasm"),
        (&["component.wasm"], "it is a component"),
    ] {
        let mut boxer = home.boxer();
        let output = boxer.args(["serve", "--addr", ":0"]).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(reason), "{args:?}: {stderr}");
    }
}

#[test]
fn a_training_asks_the_server() {
    let Some(home) = home() else { return };
    let build = |train: &str| {
        let options =
            ["build", "--progress=plain", "--offline", "--train", train, "-o", "asked.wasm"];
        let (code, _, said) = home.run(&[&options[..], &["context"]].concat(), b"");
        (code, said)
    };
    // Without a port it is the one that the image exposes.
    let (code, said) = build("http:/after");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("train /server, asked for http:8000/after"), "{said}");
    assert!(said.contains("after the answer"), "{said}");
    // Who is not asked executes next to nothing until it listens.
    assert!(!said.contains("of 0 million instructions"), "{said}");
    let asked = home.serve(&["asked.wasm"]);
    assert_eq!(asked.get("/zeros/5").2, [0; 5]);
    // A server that is never idle for long ends when it was asked often enough.
    let text = "FROM scratch\nCOPY --chmod=755 server /\nENTRYPOINT [\"/server\", \"restless\"]\nEXPOSE 8000\n";
    std::fs::write(home.path("restless"), text).unwrap();
    let words =
        ["build", "--progress=plain", "--offline", "--train", "http:/zeros/9", "-o", "r.wasm"];
    let (code, _, said) = home.run(&[&words[..], &["-f", "restless", "context"]].concat(), b"");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("regions; ") && !said.contains("stopped after"), "{said}");
    let (code, said) = build("http:eighty/");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no port"), "{said}");
}
