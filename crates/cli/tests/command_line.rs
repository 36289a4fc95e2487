//! The command as people meet it: exit codes, what goes to which stream, and how errors read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Home {
    folder: tempfile::TempDir,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("context")).unwrap();
        fs::write(home.path("context/a.txt"), "alpha").unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn boxer(&self, args: &[&str]) -> Outcome {
        self.boxer_with(args, "")
    }

    fn boxer_with(&self, args: &[&str], input: &str) -> Outcome {
        let mut child = Command::new(env!("CARGO_BIN_EXE_boxer"))
            .args(args)
            .current_dir(self.folder.path())
            .env("BOXER_HOME", self.path("store"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.path("context/Dockerfile"), text).unwrap();
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let home = Home::new();
    for args in [
        &["bulid"][..],
        &["build"],
        &["build", "--bogus", "context"],
        &["build", "--platform", "linux/arm64", "context"],
        &["build", "--cpu", "x86-64-v9", "context"],
        &["run", "--cpu", "haswell", "x.wasm"],
        &["build", "-t", "upper/CASE", "context"],
        &["build", "--output", "type=tarball,dest=x", "context"],
        &["build", "--build-context", "x", "context"],
        &["build", "--cache-from", "type=s3", "context"],
        &["build", "--cache-from", "type=gha,version=1", "context"],
        &["build", "--provenance=mode=most", "context"],
        &["build", "--attest", "type=vex", "context"],
        &["build", "--sbom=generator=scanner", "context"],
        &["build", "--ssh", "default=nowhere", "context"],
        &["build", "--secret", "src=x", "context"],
        &["build", "-f", "-", "-"],
        &["build", "--push", "context"],
        &["build", "--no-simd", "--translate=all", "context"],
        &["build", "--no-simd", "-o", "type=component,dest=x.wasm", "context"],
        &["run", "-v", "nonsense", "x.wasm"],
        &["run", "--network", "bridge", "x.wasm"],
        &["run", "--network", "allow=example.org", "x.wasm"],
        &["run", "-p", "80:x", "x.wasm"],
        &["run", "-p", "80-81:80-82", "x.wasm"],
        &["run", "--add-host", "db:nowhere", "x.wasm"],
        &["run", "-h", "not a name", "x.wasm"],
        &["build", "--network", "bridge", "context"],
        &["build", "--ulimit", "files=1", "context"],
        &["build", "--shm-size", "much", "context"],
        &["check", "--format", "xml", "context"],
        &["push", "upper/CASE"],
    ] {
        let outcome = home.boxer(args);
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{args:?}");
    }
}

#[test]
fn a_failed_build_shows_the_lines() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nCOPY a.txt /\nCOPY \\\n  a.tx \\\n  /b\n");
    let outcome = home.boxer(&["build", "-o", "x.wasm", "context"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
    let expected = "context/Dockerfile:3\n--------------------\n   1 |     FROM scratch\n   2 |     COPY a.txt /\n   3 | \
                    >>> COPY \\\n   4 | >>>   a.tx \\\n   5 | >>>   /b\n--------------------\nERROR: a.tx: not found in \
                    the build context\nhint: did you mean a.txt?\n";
    assert!(outcome.stderr.ends_with(expected), "{}", outcome.stderr);
    let steps = "#3 [internal] load build context\n#3 transferring context: 5B done\n#3 DONE ";
    assert!(outcome.stderr.contains(steps), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("#4 [2/3] COPY a.txt /\n#4 DONE "), "{}", outcome.stderr);
    assert!(!home.path("x.wasm").exists());
}

#[test]
fn a_dockerfile_that_does_not_parse_names_the_line() {
    let home = Home::new();
    let outcome = home.boxer_with(&["build", "-f", "-", "context"], "FROM scratch\nCOPPY a b\n");
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("Dockerfile:2\n"), "{}", outcome.stderr);
    let tail = "ERROR: dockerfile parse error on line 2: unknown instruction: COPPY\nhint: did you mean COPY?\n";
    assert!(outcome.stderr.ends_with(tail), "{}", outcome.stderr);
    let outcome = home.boxer(&["build", "context"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("failed to read dockerfile: open context/Dockerfile"),
        "{}",
        outcome.stderr
    );
    let outcome = home.boxer(&["build", "nowhere"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("unable to prepare context"), "{}", outcome.stderr);
}

#[test]
fn an_image_is_built_and_written_as_an_archive() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nARG V=0\nCOPY a.txt /$V/\nCMD [\"/none\"]\n");
    let args = [
        "build",
        "-q",
        "--build-arg",
        "V=7",
        "--iidfile",
        "iid",
        "-o",
        "type=oci,dest=x.tar",
        "context",
    ];
    let outcome = home.boxer(&args);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let digest = outcome.stdout.trim();
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(fs::read_to_string(home.path("iid")).unwrap(), digest);
    let mut archive = tar_names(&home.path("x.tar"));
    archive.retain(|name| !name.ends_with('/'));
    assert!(archive.contains(&"index.json".to_owned()), "{archive:?}");
    assert!(archive.iter().any(|name| name.ends_with(&digest["sha256:".len()..])), "{archive:?}");
    assert_eq!(home.boxer(&args).stdout.trim(), digest);
}

/// The names in a tar, read by hand: every header is a block, followed by its padded content.
#[test]
fn arguments_that_nobody_declares_are_told_of() {
    let home = Home::new();
    home.dockerfile("FROM scratch AS base\nONBUILD ARG BELOW\nFROM base\nARG HERE\n");
    let mut words = vec!["build", "-o", "type=oci,dest=out.tar", "context"];
    for pair in ["HERE=1", "BELOW=2", "NOWHERE=3"] {
        words.extend(["--build-arg", pair]);
    }
    let outcome = home.boxer(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let told = "One or more build-args [\"NOWHERE\"] were not consumed";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
}

fn tar_names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut names) = (0, Vec::new());
    while bytes.get(at).is_some_and(|byte| *byte != 0) {
        let name: Vec<u8> =
            bytes[at..at + 100].iter().copied().take_while(|byte| *byte != 0).collect();
        names.push(String::from_utf8(name).unwrap());
        let size: String = bytes[at + 124..at + 135].iter().map(|byte| char::from(*byte)).collect();
        at += 512 + usize::from_str_radix(size.trim(), 8).unwrap().next_multiple_of(512);
    }
    names
}

#[test]
fn checks_are_reported_and_decide_the_exit_code() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nMAINTAINER me\n");
    let outcome = home.boxer(&["build", "--check", "context"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("   2 | >>> MAINTAINER me\n"), "{}", outcome.stderr);
    home.dockerfile("# check=skip=MaintainerDeprecated\nFROM scratch\nMAINTAINER me\n");
    assert_eq!(home.boxer(&["build", "--check", "context"]).code, 0);
    home.dockerfile("# check=error=true\nFROM scratch\nMAINTAINER me\n");
    let outcome = home.boxer(&["build", "context"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("lint violation found for rules: MaintainerDeprecated"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn records_of_progress_have_buildkits_fields() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nARG A=a.txt\nCOPY $A /\nCOPY missing /\n");
    let args = ["build", "--progress=rawjson", "-o", "type=tar,dest=x.tar", "context"];
    let outcome = home.boxer(&args);
    assert_eq!(outcome.code, 1);
    let records: Vec<serde_json::Value> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |key: &str| -> Vec<&serde_json::Value> {
        records.iter().filter_map(|record| record[key].as_array()).flatten().collect()
    };
    let vertices = of("vertexes");
    let named = |name: &str| {
        vertices.iter().rfind(|vertex| vertex["name"] == name).unwrap_or_else(|| panic!("{name}"))
    };
    let copied = named("[2/3] COPY a.txt /");
    assert!(copied["completed"].is_string() && copied["started"].is_string(), "{copied}");
    assert!(copied["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    assert!(copied["error"].is_null(), "{copied}");
    let failed = named("[3/3] COPY missing /");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("not found")), "{failed}");
    let status = of("statuses")[0];
    assert_eq!(status["id"], "transferring dockerfile: 50B");
    assert_eq!(status["vertex"], vertices[0]["digest"]);
}

#[test]
fn a_dockerfile_tells_of_itself() {
    let home = Home::new();
    home.dockerfile(
        "# tools has the compilers\nFROM scratch AS tools\nCOPY a.txt /\nFROM scratch AS app\n\
         # FLAVOUR of the build\nARG FLAVOUR=sweet\nCOPY a.txt /\n",
    );
    let outcome = home.boxer(&["build", "--call=targets", "context"]);
    let expected = "TARGET        DESCRIPTION\ntools         has the compilers\napp (default)\n";
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, expected), "{}", outcome.stderr);
    let outcome = home.boxer(&["build", "--call=outline,format=json", "context"]);
    let outline: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(outline["args"][0]["name"], "FLAVOUR");
    assert_eq!(outline["args"][0]["description"], "of the build");
    let outcome = home.boxer(&["build", "--call=check,format=json", "context"]);
    let findings: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, findings["warnings"].as_array().map(Vec::len)), (0, Some(0)));
    assert!(
        !home.path("store/index.json").exists() || home.boxer(&["images", "-q"]).stdout.is_empty()
    );
}

#[test]
fn annotations_stand_in_the_manifests() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nCOPY a.txt /\n");
    let mut args = vec!["build", "--annotation", "org.example.a=1", "--annotation", "manifest:b=2"];
    args.extend(["-o", "type=image,name=annotated:1", "context"]);
    let outcome = home.boxer(&args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let inspected = home.boxer(&["inspect", "annotated:1"]).stdout;
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let digest = inspected["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let blob = home.path("store/blobs/sha256").join(digest);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
    assert_eq!(manifest["annotations"]["org.example.a"], "1");
    assert_eq!(manifest["annotations"]["b"], "2");
    for wrong in ["index:a=b", "=b", "a", "nonsense:a=b", "manifest[linux/arm64]:a=b"] {
        let outcome = home.boxer(&["build", "--annotation", wrong, "context"]);
        assert_eq!(outcome.code, 2, "{wrong}: {}", outcome.stderr);
    }
}

#[test]
fn what_buildx_knows_is_taken_or_refused_by_name() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nCOPY a.txt /\n");
    // What asks for nothing is taken.
    let mut args = vec!["build", "--builder", "default", "--provenance=false", "--sbom=false"];
    args.extend([
        "--rm",
        "--force-rm=true",
        "--compress=false",
        "--cpu-shares",
        "0",
        "--load=true",
    ]);
    args.extend(["--no-cache=false", "--pull=false", "--push=false", "--shm-size", "64m"]);
    args.extend(["-o", "type=tar,dest=x.tar", "context"]);
    let outcome = home.boxer(&args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for option in [
        "--allow=network.host",
        "--builder=remote",
        "--cgroup-parent=x",
        "--compress",
        "--cpu-period=1",
        "--cpu-quota=1",
        "--cpu-shares=1",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--debug",
        "--detach",
        "--disable-content-trust=false",
        "--invoke=sh",
        "--isolation=hyperv",
        "--memory-swap=1g",
        "--policy=x",
        "--print=outline",
        "--root=/x",
        "--security-opt=seccomp=unconfined",
        "--server-config=/x",
        "--squash",
    ] {
        let outcome = home.boxer(&["build", option, "context"]);
        let name = option.split('=').next().unwrap();
        let expected = format!("ERROR: {name} is not supported: ");
        assert_eq!(outcome.code, 2, "{option}: {}", outcome.stderr);
        assert!(outcome.stderr.starts_with(&expected), "{option}: {}", outcome.stderr);
    }
}

#[test]
fn what_docker_builds_from_other_files_is_refused_by_name() {
    let home = Home::new();
    for words in [&["bake", "--print", "-f", "docker-bake.hcl"][..], &["compose", "build", "web"]] {
        let outcome = home.boxer(words);
        assert_eq!(outcome.code, 2, "{words:?}: {}", outcome.stderr);
        let expected = format!("ERROR: {} is not supported: ", words[0]);
        assert!(outcome.stderr.starts_with(&expected), "{}", outcome.stderr);
    }
}

#[test]
fn a_check_is_a_command_too() {
    let home = Home::new();
    home.dockerfile("FROM scratch AS a\nMAINTAINER me\nFROM scratch\nCOPY a.txt /\n");
    let outcome = home.boxer(&["check", "context"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("WARNING: MaintainerDeprecated"), "{}", outcome.stderr);
    let outcome = home.boxer(&["check", "--format=json", "context"]);
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(value["warnings"][0]["ruleName"], "MaintainerDeprecated", "{}", outcome.stdout);
    fs::write(home.path("context/other"), "ARG V\nFROM scratch AS a\nCOPY a.txt /\n").unwrap();
    let words = ["check", "-f", "context/other", "--build-arg", "V=1", "--target", "a", "context"];
    let outcome = home.boxer(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        !home.path("store/index.json").exists() || home.boxer(&["images", "-q"]).stdout.is_empty()
    );
}

#[test]
fn a_terminal_view_needs_a_terminal() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nCOPY a.txt /\n");
    let outcome = home.boxer(&["build", "--progress=tty", "context"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--progress=tty needs a terminal"), "{}", outcome.stderr);
}

#[test]
fn what_no_box_can_hold_is_refused_at_once() {
    let home = Home::new();
    let holes = fs::File::create(home.path("context/holes")).unwrap();
    holes.set_len(60 << 30).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-S", "-C"]).arg(home.path("context"));
    let made = tar.arg("-cf").arg(home.path("context/holes.tar")).arg("holes").status().unwrap();
    assert!(made.success());
    for (line, output, reason) in [
        ("ADD holes.tar /", "x.wasm", "more than 4294967296 bytes of holes"),
        ("COPY holes /", "x.wasm", "more than 3758096384 bytes"),
        ("ADD holes.tar /", "type=oci,dest=x.tar", "more than 4294967296 bytes of holes"),
        ("COPY holes /", "type=oci,dest=x.tar", "more than 34359738368 bytes"),
    ] {
        home.dockerfile(&format!("FROM scratch\n{line}\n"));
        let start = std::time::Instant::now();
        let outcome = home.boxer(&["build", "-o", output, "context"]);
        assert_eq!(outcome.code, 1, "{line}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{line}: {}", outcome.stderr);
        assert!(start.elapsed().as_secs() < 20, "{line}: {:?}", start.elapsed());
        let left = fs::read_dir(home.path("store/tmp")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{line}");
    }
}

#[test]
fn projects_get_a_dockerfile_without_findings() {
    for (mark, kind) in [
        ("package.json", "Node"),
        ("requirements.txt", "Python"),
        ("pyproject.toml", "Python"),
        ("go.mod", "Go"),
        ("package-lock.json", "Node"),
        ("Cargo.toml", "Rust"),
        ("pom.xml", "Java (Maven)"),
        ("build.gradle.kts", "Java (Gradle)"),
        ("Main.java", "Java"),
        ("Gemfile", "Ruby"),
        ("composer.json", "PHP (Composer)"),
        ("index.php", "PHP"),
        ("index.html", "static site"),
        ("notes", "unknown"),
    ] {
        let home = Home::new();
        fs::write(home.path("context").join(mark), "").unwrap();
        let outcome = home.boxer(&["init", "context"]);
        assert_eq!(outcome.code, 0, "{mark}: {}", outcome.stderr);
        assert!(outcome.stdout.starts_with(&format!("{kind}: wrote ")), "{}", outcome.stdout);
        let outcome = home.boxer(&["build", "--check", "context"]);
        assert_eq!(outcome.code, 0, "{mark}: {}", outcome.stderr);
        let written = fs::read(home.path("context/Dockerfile")).unwrap();
        let outcome = home.boxer(&["init", "context"]);
        assert!(
            outcome.code == 1 && outcome.stderr.contains("there already"),
            "{}",
            outcome.stderr
        );
        assert_eq!(fs::read(home.path("context/Dockerfile")).unwrap(), written);
    }
}

#[test]
fn a_wasi_module_as_first_program_is_refused() {
    let home = Home::new();
    fs::write(home.path("context/app.wasm"), b"\0asm\x01\0\0\0").unwrap();
    for line in ["ENTRYPOINT [\"./app.wasm\"]", "CMD [\"app.wasm\", \"x\"]"] {
        home.dockerfile(&format!("FROM scratch\nWORKDIR /usr/bin\nCOPY app.wasm .\n{line}\n"));
        let outcome = home.boxer(&["build", "-o", "x.wasm", "context"]);
        assert_eq!(outcome.code, 1, "{line}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("is a WebAssembly module"), "{}", outcome.stderr);
        assert!(!home.path("x.wasm").exists());
    }
}

#[test]
fn what_starts_a_project_is_found() {
    for (file, text, line) in [
        ("Cargo.toml", "[package]\nname = \"greet-er\"\n", "CMD [\"greet-er\"]"),
        ("Cargo.toml", "[package]\nname = \"a\"\n[[bin]]\nname = \"b\"\n", "CMD [\"b\"]"),
        ("Cargo.toml", "[package]\nname = '\"]\\nRUN x'\n", "CMD [\"program\"]"),
        ("Cargo.toml", "not TOML", "CMD [\"program\"]"),
        ("requirements.txt", "", "CMD [\"python\", \"app.py\"]"),
    ] {
        let home = Home::new();
        fs::write(home.path("context").join(file), text).unwrap();
        fs::write(home.path("context/app.py"), "").unwrap();
        let outcome = home.boxer(&["init", "context"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let written = fs::read_to_string(home.path("context/Dockerfile")).unwrap();
        assert_eq!(written.lines().last(), Some(line), "{text}");
    }
}

#[test]
fn a_file_has_defaults_of_options() {
    let home = Home::new();
    home.dockerfile("FROM scratch\nCOPY a.txt /\n");
    let build = ["build", "-o", "type=tar,dest=x.tar", "context"];
    let write = |text: &str| {
        fs::create_dir_all(home.path("config/boxer")).unwrap();
        fs::write(home.path("config/boxer/config.toml"), text).unwrap();
    };
    write("progress = \"quiet\"\noffline = true\nstore = \"unused\"\n");
    let outcome = home.boxer(&build);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(
        home.path("store").exists() && !home.path("config/boxer/unused").exists(),
        "the environment counts more"
    );
    let outcome = home.boxer(&[&build[..], &["--progress=plain"]].concat());
    assert!(outcome.stderr.contains("#1 "), "{}", outcome.stderr);
    let outcome = home.boxer(&["pull", "127.0.0.1:1/x"]);
    assert!(outcome.stderr.contains("the network is off"), "{}", outcome.stderr);

    fs::write(home.path("other.toml"), "authfile = \"missing.json\"\n").unwrap();
    let outcome = home.boxer(&["--config", "other.toml", "logout", "a.example"]);
    assert!(outcome.stderr.contains("missing.json"), "{}", outcome.stderr);
    for wrong in ["progres = \"plain\"", "progress = \"loud\"", "mirror = 7", "offline"] {
        write(wrong);
        let outcome = home.boxer(&["images"]);
        assert_eq!(outcome.code, 2, "{wrong}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("config/boxer/config.toml: "), "{}", outcome.stderr);
    }
    let outcome = home.boxer(&["--config", "nowhere.toml", "images"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
}

#[test]
fn shells_and_manuals_are_told_of_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = home.boxer(&["completions", shell]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(outcome.stdout.contains("metadata-file"), "{shell}");
        assert!(!outcome.stdout.contains("cgroup-parent"), "{shell}: what is only refused");
    }
    let outcome = home.boxer(&["man", "pages/man1"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for (page, text) in [
        ("boxer.1", "boxer\\-build"),
        ("boxer-build.1", "metadata\\-file"),
        ("boxer-volume-create.1", "volume"),
    ] {
        let found = fs::read_to_string(home.path("pages/man1").join(page)).unwrap();
        assert!(found.contains(text), "{page}: {found}");
    }
}

#[test]
fn logins_that_are_refused_leave_nothing() {
    let home = Home::new();
    let auth = ["--authfile", "auth.json"];
    let login = ["login", "-u", "ann", "--password-stdin"];
    for (registry, code) in [("127.0.0.1:1", 1), ("ghcr.io/owner", 2), ("no registry", 2)] {
        let outcome = home.boxer_with(&[&login[..], &auth, &[registry]].concat(), "pw\n");
        assert_eq!(outcome.code, code, "{registry}: {}", outcome.stderr);
    }
    let outcome = home.boxer_with(&[&login[..], &auth, &["127.0.0.1:1"]].concat(), "\n");
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    let outcome = home.boxer(&[&["login"], &auth[..], &["127.0.0.1:1"]].concat());
    assert!(outcome.code == 2 && outcome.stderr.contains("no terminal"), "{}", outcome.stderr);
    assert!(!home.path("auth.json").exists());
    fs::write(home.path("auth.json"), r#"{"auths":{"127.0.0.1:1":{"auth":"dTpw"}}}"#).unwrap();
    let logout = || home.boxer(&[&["logout"], &auth[..], &["127.0.0.1:1"]].concat()).stdout;
    assert_eq!(logout(), "Removed the credentials for 127.0.0.1:1\n");
    assert_eq!(logout(), "Not logged in to 127.0.0.1:1\n");
}

#[test]
fn running_what_is_not_there_exits_with_125() {
    let home = Home::new();
    fs::write(home.path("text.wasm"), "not wasm").unwrap();
    for (name, message) in [
        ("./missing.wasm", "missing.wasm"),
        ("text.wasm", "neither a Wasm module nor a component"),
        ("localhost:1/no/such:1", "localhost:1"),
    ] {
        let outcome = home.boxer(&["run", name]);
        assert_eq!(outcome.code, 125, "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
}

#[test]
fn options_after_the_name_belong_to_the_program() {
    let home = Home::new();
    for option in ["--help", "--version", "--strace", "--no-such-option"] {
        let outcome = home.boxer(&["run", "./missing.wasm", option]);
        assert_eq!(outcome.code, 125, "{option}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("missing.wasm"), "{option}: {}", outcome.stderr);
    }
    assert_eq!(home.boxer(&["run", "--no-such-option", "./missing.wasm"]).code, 2);
}

#[test]
fn what_docker_run_knows_is_taken_or_refused_by_name() {
    let home = Home::new();
    let taken = "--read-only --name web -l a=b --shm-size 128m --ulimit nofile=5:6 --ulimit core=-1 --group-add 7 --cap-drop ALL \
                 --cap-add CHOWN --security-opt no-new-privileges --pull never --platform linux/amd64 --restart no --ipc private \
                 --sig-proxy=true --stop-signal INT --cpus 1 --privileged=false -d=false --expose 80 --userns host -P=false";
    let words: Vec<&str> = taken.split_whitespace().collect();
    let outcome = home.boxer(&[&["run"], &words[..], &["./missing.wasm"]].concat());
    assert!(outcome.code == 125 && outcome.stderr.contains("missing.wasm"), "{}", outcome.stderr);
    for refused in [
        "--detach",
        "-d",
        "--privileged",
        "--device=/dev/fuse",
        "--gpus=all",
        "--pid=host",
        "--ipc=host",
        "--restart=always",
        "--sysctl=a=b",
        "--cpus=2",
        "--volumes-from=x",
        "--link=x",
        "--log-driver=syslog",
        "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined",
        "--sig-proxy=false",
    ] {
        let outcome = home.boxer(&["run", refused, "./missing.wasm"]);
        assert_eq!(outcome.code, 2, "{refused}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("unexpected argument"), "{refused}: {}", outcome.stderr);
    }
    for bad in [
        "--workdir=rel",
        "--publish=70-72:80-81",
        "--expose=x",
        "--expose=1:2",
        "--publish-all=maybe",
        "--ulimit=files=1",
        "--ulimit=nofile=2:1",
        "--cap-drop=NONSENSE",
        "--shm-size=x",
        "--group-add=",
        "--pull=often",
    ] {
        assert_eq!(home.boxer(&["run", bad, "./missing.wasm"]).code, 2, "{bad}");
    }
    let twice = ["run", "-v", "./context:/v", "--tmpfs", "/v/", "./missing.wasm"];
    let outcome = home.boxer(&twice);
    assert!(outcome.stderr.contains("duplicate mount point: /v"), "{}", outcome.stderr);
    let outcome = home.boxer(&["run", "--pull=never", "localhost:1/no/such:1"]);
    assert!(
        outcome.code == 125 && outcome.stderr.contains("no such image or box in the local store"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_empty_store_lists_nothing() {
    let home = Home::new();
    let outcome = home.boxer(&["images"]);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (0, 1));
    assert_eq!(home.boxer(&["images", "-q"]).stdout, "");
    let outcome = home.boxer(&["inspect", "nothing:1"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("no such image or box in the local store"),
        "{}",
        outcome.stderr
    );
}
