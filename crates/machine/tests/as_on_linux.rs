//! Programs of `fixtures/linux`, each compiled and run in a box: what they print must be what they printed on Linux on a
//! processor (`NAME.expected`; `BOXER_BLESS=1` writes it anew from a run on this machine). `NAME.differs` holds the lines
//! that are meant to be different here, each with its reason; an entry that no longer differs is an error. What depends on
//! the C library is not recorded but compared with a run on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use machine::{Machine, StartArgs, Step};
use mem::Phys;
use rootfs::config::{BoxConfig, CpuLevel};
use rootfs::{Metadata, Writer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use testkit::host::{Outside, TestHost};

/// An image with the program as `/program` and the directories that Linux mounts on.
fn image(program: &[u8]) -> Vec<u8> {
    let meta = || Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nsec: 0,
        xattrs: BTreeMap::new(),
    };
    let mut tree = Writer::new(meta());
    let root = tree.root();
    for name in ["dev", "proc", "sys", "tmp"] {
        tree.dir(root, name.as_bytes(), meta()).unwrap();
    }
    tree.file(root, b"program", meta(), program.len() as u64).unwrap();
    let mut bytes = Vec::new();
    tree.write(&mut bytes, |_| Ok(std::io::Cursor::new(program))).unwrap();
    bytes
}

/// What the program prints in a box with that processor, and its status.
fn boxed(program: &Path, cpu: CpuLevel) -> String {
    let image: &'static [u8] = image(&std::fs::read(program).unwrap()).leak();
    let mut phys = Phys::new(256 << 20);
    let base = phys.adopt_static(image).unwrap();
    let outside = Rc::new(Outside::default());
    outside.clock.set(1);
    outside.stdin_ends.set(true);
    let config = BoxConfig { cpu, ..BoxConfig::default() };
    let host = Box::new(TestHost(outside.clone()));
    let mut machine = Machine::boot(phys, host, image, base, config).unwrap();
    machine.start(StartArgs { args: vec!["/program".into()], ..StartArgs::default() }).unwrap();
    let status = loop {
        match machine.step(100_000_000) {
            Step::Ready => {}
            // Nobody waits here but for a time.
            Step::Wait { deadline, .. } => {
                let now = machine.kernel().now();
                machine.kernel().host.advance(deadline.unwrap().saturating_sub(now));
            }
            Step::Exit(status) => break status,
            Step::Stopped => unreachable!("nobody has asked for that"),
        }
        assert!(machine.retired() < 10_000_000_000, "the program does not end");
    };
    let text = |bytes: &RefCell<Vec<u8>>| String::from_utf8_lossy(&bytes.borrow()).into_owned();
    let (printed, errors) = (text(&outside.stdout), text(&outside.stderr));
    format!("{printed}{errors}{}status {status}\n", outside.log.borrow().concat())
}

/// What the program prints on this machine, with these tunables of the C library.
fn native(program: &Path, tunables: &str) -> String {
    let mut command = Command::new(program);
    let output = command.env_clear().env("GLIBC_TUNABLES", tunables).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let status = output.status.code().unwrap_or(-1);
    format!("{text}status {status}\n")
}

fn compile(source: &Path, flags: &[&str]) -> Option<PathBuf> {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.file_stem().unwrap());
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-w", "-static", "-no-pie", "-pthread"]).args(flags);
    gcc.arg(source).arg("-o").arg(&to).arg("-lm");
    let status = gcc.status().ok()?;
    assert!(status.success(), "{} does not compile", source.display());
    Some(to)
}

/// The lines of `expected` with those of `differs` in the place of the ones that start with the same name.
fn amended(expected: &str, differs: &str, place: &str) -> String {
    let name = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
    let mut own: BTreeMap<String, &str> =
        differs.lines().filter(|l| !l.starts_with('#')).map(|l| (name(l), l)).collect();
    let mut text = String::new();
    for line in expected.lines() {
        let line =
            own.remove(&name(line)).inspect(|l| assert_ne!(*l, line, "{place}")).unwrap_or(line);
        text.push_str(line);
        text.push('\n');
    }
    assert!(own.is_empty(), "{place}: not in the expected output: {own:?}");
    text
}

/// The processors whose output the fixtures record.
fn is_reference() -> bool {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cfg!(target_arch = "x86_64") && info.contains("AuthenticAMD")
}

fn check(name: &str) {
    let dir = std::env::current_dir().unwrap().join("../../fixtures/linux");
    let file = |extension: &str| dir.join(name).with_extension(extension);
    let Some(program) = compile(&file("c"), &[]) else {
        println!("skipped: no gcc here");
        return;
    };
    if std::env::var_os("BOXER_BLESS").is_some() {
        std::fs::write(file("expected"), native(&program, "")).unwrap();
    }
    let expected = std::fs::read_to_string(file("expected")).unwrap();
    if !is_reference() {
        println!("not run on this machine: the output is that of another maker's processor");
    } else if PROCESSOR.contains(&name) || std::env::var_os("BOXER_NATIVE").is_some() {
        compare("this machine", &expected, &native(&program, ""));
    } else if expected != native(&program, "") {
        println!("{name}: this machine's kernel differs; BOXER_NATIVE=1 shows where");
    }
    let differs = std::fs::read_to_string(file("differs")).unwrap_or_default();
    compare("the box", &amended(&expected, &differs, name), &boxed(&program, CpuLevel::default()));
}

/// Programs whose output depends on the processor alone. What the others print depends on the kernel, too, its version and
/// the limits and the niceness it was started with: there this machine is the judge only if `BOXER_NATIVE=1` asks for it.
const PROCESSOR: [&str; 4] = ["faults", "x87", "selfmod", "system"];

/// Compares the box with this machine, which must have what x86-64-v3 has. `tunables` make the C library choose here what
/// it chooses on a processor of that level.
fn agree(name: &str, flags: &[&str], levels: &[(CpuLevel, &str)]) {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !["fma", "avx2", "f16c"].iter().all(|f| info.split_whitespace().any(|word| word == *f)) {
        println!("skipped: this machine is not x86-64-v3");
        return;
    }
    let dir = std::env::current_dir().unwrap().join("../../fixtures/linux");
    let Some(program) = compile(&dir.join(name).with_extension("c"), flags) else {
        println!("skipped: no gcc here");
        return;
    };
    for &(cpu, tunables) in levels {
        let place = format!("{name} on {cpu:?}");
        compare(&place, &native(&program, tunables), &boxed(&program, cpu));
    }
}

fn compare(place: &str, expected: &str, found: &str) {
    let mut wrong = Vec::new();
    let (mut a, mut b) = (expected.lines(), found.lines());
    loop {
        match (a.next(), b.next()) {
            (None, None) => break,
            (x, y) if x == y => {}
            (x, y) => {
                let line = |l: Option<&str>| l.unwrap_or("(no line)").to_owned();
                wrong.push(format!("- {}\n+ {}", line(x), line(y)));
            }
        }
    }
    assert!(wrong.is_empty(), "{place} differs in {} lines:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn faults_are_linuxs_signals() {
    check("faults");
}

#[test]
fn x87_state_is_the_processors() {
    check("x87");
}

#[test]
fn changed_code_is_seen_at_once() {
    check("selfmod");
}

#[test]
fn system_v_ipc() {
    check("sysv");
}

#[test]
fn posix_message_queues() {
    check("mqueue");
    check("mqthread");
}

#[test]
fn descriptors_of_processes() {
    check("pidfd");
}

#[test]
fn access_control_lists() {
    check("acl");
}

#[test]
fn terminals_as_system_v_has_them() {
    check("termio");
}

#[test]
fn packet_mode_of_terminals() {
    check("ptypacket");
}

#[test]
fn files_of_namespaces() {
    check("namespaces");
}

#[test]
fn limits_of_processes() {
    check("limits");
}

#[test]
fn credentials_groups_and_signals() {
    check("credentials");
}

#[test]
fn clocks_timers_and_shares_of_the_processor() {
    check("times");
}

#[test]
fn asynchronous_io() {
    check("aio");
}

#[test]
fn policies_of_one_processor() {
    check("policies");
}

#[test]
fn sequences_and_futex_vectors() {
    check("sequences");
}

#[test]
fn libm_gives_the_same_bits_and_flags() {
    let plain = "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F";
    agree("libm", &["-fno-builtin"], &[(CpuLevel::V2, plain), (CpuLevel::V3, "")]);
}

#[test]
fn vector_loops_give_the_same_bits() {
    agree("vectors", &["-O3", "-march=x86-64-v3"], &[(CpuLevel::V3, "")]);
}

#[test]
fn segments_far_transfers_and_single_steps() {
    check("system");
}

#[test]
fn tcp_over_loopback() {
    check("tcp");
}

#[test]
fn datagrams_and_raw_sockets_over_loopback() {
    check("udp");
}

#[test]
fn unix_sockets() {
    check("unixsock");
}

#[test]
fn options_of_sockets() {
    check("sockopts");
}

#[test]
fn terminals_outlive_their_sessions() {
    check("sessions");
}

#[test]
fn epoll_poll_and_select_follow_linuxs_rules() {
    check("epoll");
}

#[test]
fn descriptors_locks_leases_and_seals() {
    check("fcntl");
}

#[test]
fn copies_between_files_and_pipes() {
    check("splice");
}

#[test]
fn names_attributes_and_mounts() {
    check("files");
}

#[test]
fn mappings_of_files_and_running_programs() {
    check("mapping");
}

#[test]
fn interfaces_as_netlink_ioctls_and_proc_show_them() {
    check("interfaces");
}

#[test]
fn packets_of_the_loopback() {
    check("packet");
}

#[test]
fn futexes_locks_and_owners_that_die() {
    check("futex");
}

#[test]
fn signals_during_calls_that_wait() {
    check("restart");
}

#[test]
fn names_and_messages_of_unix_sockets() {
    check("unixnames");
}

#[test]
fn reading_and_writing_of_every_kind() {
    check("rw");
}

#[test]
fn errors_of_calls_on_memory() {
    check("memory");
}

#[test]
fn raw_sockets_of_other_protocols() {
    check("raw");
}

#[test]
fn inode_flags_and_requests_of_all_filesystems() {
    check("inodeflags");
}

#[test]
fn inotify_and_descriptors_of_events() {
    check("inotify");
}

#[test]
fn tracers_see_what_linux_shows() {
    check("ptrace");
}

#[test]
fn threads_that_take_a_signal_of_their_process() {
    check("choice");
}

#[test]
fn programs_scripts_and_what_they_inherit() {
    check("programs");
}

#[test]
fn calls_that_a_program_makes_itself() {
    check("dispatch");
}

#[test]
fn options_of_processes() {
    check("prctl");
}

#[test]
fn children_threads_and_what_they_share() {
    check("clone");
}

#[test]
fn calls_that_are_refused() {
    check("refused");
}

#[test]
fn forms_of_proc() {
    check("proc");
}

#[test]
fn files_of_proc() {
    check("procfile");
}

#[test]
fn first_threads_that_end() {
    check("leader");
}

#[test]
fn filters_of_system_calls() {
    check("seccomp");
}
