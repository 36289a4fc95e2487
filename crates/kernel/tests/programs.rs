//! execve(2): ELF programs, scripts, the initial stack, and what a bad file gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use harness::{Sys, put_file, tiny_elf};
use kernel::{Sched, StartError, StartSpec};
use mem::{Access, Translate};

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|w| w.as_bytes().to_vec()).collect()
}

fn start(path: &str, data: &[u8], mode: u32) -> Result<(), StartError> {
    let (mut k, _) = Sys::kernel(64 << 20);
    put_file(&mut k, path, data, mode);
    k.start(StartSpec { argv: words(&[path]), ..StartSpec::default() }).map(|_| ())
}

fn refused(data: &[u8]) -> Errno {
    match start("/prog", data, 0o755) {
        Err(StartError::NotExecutable(_, errno)) => errno,
        Err(StartError::NotFound(_) | StartError::NoInterpreter(_)) => Errno::ENOENT,
        other => panic!("{other:?}"),
    }
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut elf = tiny_elf();
    elf[at..at + bytes.len()].copy_from_slice(bytes);
    elf
}

#[test]
fn bad_programs() {
    let cases: Vec<(&str, Vec<u8>, Errno)> = vec![
        ("empty", vec![], Errno::ENOEXEC),
        ("text", b"hello\n".to_vec(), Errno::ENOEXEC),
        ("cut header", tiny_elf()[..40].to_vec(), Errno::ENOEXEC),
        ("32 bits", patched(18, &[3]), Errno::ENOEXEC),
        ("object file", patched(16, &[1]), Errno::ENOEXEC),
        ("other machine", patched(18, &[183]), Errno::ENOEXEC),
        ("no headers", patched(56, &[0]), Errno::ENOEXEC),
        ("header size", patched(54, &[32]), Errno::ENOEXEC),
        ("headers outside", patched(32, &[0xff; 8]), Errno::ENOEXEC),
        ("wild address", patched(0x50, &[0xff; 8]), Errno::ENOEXEC),
        ("memory below file", patched(0x68, &[1, 0, 0, 0, 0, 0, 0, 0]), Errno::ENOEXEC),
        ("huge file part", patched(0x60, &[0xff; 16]), Errno::ENOEXEC),
        ("crooked offset", patched(0x48, &[1]), Errno::ENOEXEC),
        ("no loadable segment", patched(0x40, &[4]), Errno::ENOEXEC),
        ("all of memory", patched(0x68, &[0, 0, 0, 0, 0xff, 0x7f]), Errno::ENOMEM),
        ("missing shell", b"#!/no/such/shell\n".to_vec(), Errno::ENOENT),
        ("empty shebang", b"#!\n".to_vec(), Errno::ENOEXEC),
        ("itself", b"#!/prog\n".to_vec(), Errno::ELOOP),
    ];
    for (name, data, want) in cases {
        assert_eq!(refused(&data), want, "{name}");
    }
    assert_eq!(start("/prog", &tiny_elf(), 0o755), Ok(()));
    // Only the machine says what program it is.
    assert_eq!(start("/prog", &patched(4, &[1, 2]), 0o755), Ok(()));
    let denied = start("/prog", &tiny_elf(), 0o644).unwrap_err();
    assert_eq!(denied, StartError::NotExecutable("/prog".into(), Errno::EACCES));
    assert_eq!(denied.status(), 126);
    let orphan = start("/prog", b"#!/no/such/shell\n", 0o755).unwrap_err();
    assert_eq!(orphan, StartError::NoInterpreter("/prog".into()));
    assert_eq!(orphan.status(), 127);
    let (mut k, _) = Sys::kernel(16 << 20);
    let missing = k.start(StartSpec { argv: words(&["nope"]), ..StartSpec::default() });
    assert_eq!(missing.unwrap_err().status(), 127);
    let dir = k.start(StartSpec { argv: words(&["/dev"]), ..StartSpec::default() });
    assert_eq!(dir.unwrap_err().status(), 126);
    // The kernel is as before: a good program starts.
    k.start(StartSpec { argv: words(&["/init"]), ..StartSpec::default() }).unwrap();
}

/// Every prefix of real programs, and bytes changed in their headers: an error or a start, never a panic.
#[test]
fn damaged_headers() {
    let mut seed = 1_u64;
    let whole = tiny_elf();
    for _ in 0..300 {
        let mut elf = whole.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % elf.len();
            elf[at] = (seed >> 24) as u8;
        }
        let _ = start("/prog", &elf, 0o755);
    }
}

/// Strings at the pointers of a null-terminated array.
fn strings(sys: &mut Sys, at: &mut u64) -> Vec<String> {
    let mut out = Vec::new();
    loop {
        let p = sys.peek64(*at);
        *at += 8;
        if p == 0 {
            return out;
        }
        let text = sys.k.mm.read_cstr(p, 4096).unwrap();
        out.push(String::from_utf8(text).unwrap());
    }
}

#[test]
fn initial_stack() {
    let (mut k, outside) = Sys::kernel(64 << 20);
    let tid = k
        .start(StartSpec {
            argv: words(&["/init", "one", ""]),
            env: words(&["A=1", "PATH=/bin"]),
            hostname: b"box".to_vec(),
            ..StartSpec::default()
        })
        .unwrap();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    let ctx = sys.k.context(tid).clone();
    let sp = ctx.gpr[abi::RSP];
    assert_eq!(ctx.rip, 0x40_0078);
    assert_eq!(sp % 16, 0);
    assert_eq!(sys.peek64(sp), 3, "argc");
    let mut at = sp + 8;
    assert_eq!(strings(&mut sys, &mut at), ["/init", "one", ""]);
    assert_eq!(strings(&mut sys, &mut at), ["A=1", "PATH=/bin", "HOSTNAME=box", "HOME=/"]);
    let mut auxv = std::collections::BTreeMap::new();
    loop {
        let (kind, value) = (sys.peek64(at), sys.peek64(at + 8));
        at += 16;
        if kind == 0 {
            break;
        }
        auxv.insert(kind, value);
    }
    for (kind, value) in [
        (3, 0x40_0040),
        (4, 56),
        (5, 1),
        (6, 4096),
        (7, 0),
        (9, 0x40_0078),
        (11, 0),
        (17, 100),
        (23, 0),
    ] {
        assert_eq!(auxv.get(&kind), Some(&value), "AT {kind}");
    }
    assert!(!auxv.contains_key(&33), "no vdso");
    assert_eq!(sys.k.mm.read_cstr(auxv[&31], 99).unwrap(), b"/init");
    assert_eq!(sys.k.mm.read_cstr(auxv[&15], 99).unwrap(), b"x86_64");
    assert_eq!(sys.peek32(auxv[&25]), 0x5958_5b5a, "random bytes from the host");
    // Linux's order: pointers, random bytes, platform, arguments, environment, path, null word.
    assert!(at <= auxv[&25] && auxv[&25] < auxv[&15]);
    let arg0 = sys.peek64(sp + 8);
    assert!(auxv[&15] < arg0 && arg0 < auxv[&31]);
    assert_eq!(sys.peek64(0xffff_f000 - 8), 0);
    assert_eq!(auxv[&31] + 6, 0xffff_f000 - 8);
}

#[test]
fn scripts_through_interpreters() {
    let (mut k, outside) = Sys::kernel(64 << 20);
    put_file(&mut k, "/a/script", b"#! /a/other  -x y \nrest", 0o755);
    put_file(&mut k, "/a/other", b"#!/init", 0o755);
    let tid =
        k.start(StartSpec { argv: words(&["/a/script", "arg"]), ..StartSpec::default() }).unwrap();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    let mut at = sys.k.context(tid).gpr[abi::RSP] + 8;
    assert_eq!(strings(&mut sys, &mut at), ["/init", "/a/other", "-x y", "/a/script", "arg"]);
    assert_eq!(sys.k.tasks.thread(tid).unwrap().comm, b"script");
}

#[test]
fn execve_replaces_the_process() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let old = sys.map(4096);
    let path = sys.string("/init");
    let bad = sys.string("/nothing");
    let argv = sys.map(4096);
    sys.poke64(argv, path);
    assert_eq!(sys.err(59, &[bad, argv, 0]), Errno::ENOENT);
    assert_eq!(sys.err(59, &[0, argv, 0]), Errno::EFAULT);
    assert_eq!(sys.err(59, &[path, 1, 0]), Errno::EFAULT);
    sys.poke64(argv, 1);
    assert_eq!(sys.err(59, &[path, argv, 0]), Errno::EFAULT);
    sys.poke64(argv, path);
    let long = sys.map(256 << 10);
    sys.poke(long, &vec![b'x'; 200 << 10]);
    sys.poke64(argv + 8, long);
    assert_eq!(sys.err(59, &[path, argv, 0]), Errno::E2BIG);
    sys.poke64(argv + 8, 0);

    // vfork + exec wakes the parent; threads of the child's own are gone.
    sys.blocks(58, &[]);
    let child = kernel::ThreadId(parent.0 + 1);
    sys.run(child);
    sys.try_call(59, &[path, argv, 0]);
    sys.run(child);
    assert_eq!(sys.k.context(child).rip, 0x40_0078);
    assert!(sys.k.mm.translate(old, Access::Read).is_err(), "a new address space");
    sys.run(parent);
    assert_eq!(sys.rax(), i64::from(child.0));
    assert_eq!(sys.peek64(old), 0);

    // A thread that execs takes the first thread's place.
    let m = sys.map(8192);
    let t = kernel::ThreadId(sys.ok(56, &[0x1_0f00, m + 4096, 0, 0, 0]) as u32);
    sys.run(t);
    assert_eq!(sys.try_call(59, &[path, argv, 0]), None);
    sys.run(parent);
    assert_eq!(sys.k.context(parent).rip, 0x40_0078);
    assert!(sys.k.tasks.thread(t).is_none());
}

/// A real dynamically linked program of this machine: placed low, with its linker, and `/proc` shows it.
#[test]
fn dynamic_program() {
    let (Ok(program), Ok(linker)) =
        (std::fs::read("/bin/true"), std::fs::read("/lib64/ld-linux-x86-64.so.2"))
    else {
        println!("skipped: no /bin/true with the GNU dynamic linker here");
        return;
    };
    let (mut k, outside) = Sys::kernel(64 << 20);
    put_file(&mut k, "/bin/true", &program, 0o755);
    let spec = || StartSpec { argv: words(&["true"]), ..StartSpec::default() };
    assert!(matches!(k.start(spec()), Err(StartError::NoInterpreter(_))));
    put_file(&mut k, "/lib64/ld-linux-x86-64.so.2", &linker, 0o755);
    let tid = k.start(spec()).unwrap();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    let rip = sys.k.context(tid).rip;
    assert!(rip < 1 << 32);
    let mut code = [0; 4];
    sys.k.mm.read_user(rip, &mut code).unwrap();
    sys.k.mm.translate(rip, Access::Fetch).unwrap();
    let maps = {
        use kernel::fs::procfs::ProcView;
        String::from_utf8(sys.k.task_text(tid.0, "maps", true).unwrap()).unwrap()
    };
    let names: Vec<&str> = maps.lines().filter_map(|l| l.get(73..)).collect();
    assert!(names.contains(&"/bin/true") && names.contains(&"[stack]"), "{maps}");
    assert!(maps.contains("r-xp") && maps.contains("/lib64/ld-linux-x86-64.so.2"), "{maps}");
    assert_eq!(sys.k.schedule(), Sched::Run(tid));
}

/// `docker run --read-only --cap-drop … --group-add … --ulimit … --security-opt no-new-privileges`, and how they stand in /proc.
#[test]
fn rights_of_the_first_process() {
    use rootfs::rights::{Rights, Ulimit, capabilities};
    let rights = Rights {
        capabilities: Some(capabilities(&["SYS_PTRACE".into()], &["MKNOD".into()]).unwrap()),
        groups: vec!["44".into(), "root".into()],
        ulimits: vec![Ulimit { resource: 7, soft: 5, hard: 6 }],
        read_only: true,
        no_new_privileges: true,
    };
    let (mut k, outside) = Sys::kernel(64 << 20);
    let argv = words(&["/init"]);
    let strange = Rights { groups: vec!["nosuch".into()], ..Rights::default() };
    let refused =
        k.start(StartSpec { argv: argv.clone(), rights: strange, ..StartSpec::default() });
    assert_eq!(refused, Err(StartError::Group("nosuch".into())));
    let tid = k.start(StartSpec { argv, rights, ..StartSpec::default() }).unwrap();
    let mut sys = Sys { k, tid, outside };
    sys.run(tid);
    let buf = sys.map(8192);
    let text = |sys: &mut Sys, name: &str| {
        let path = sys.string(&format!("/proc/self/{name}"));
        let fd = sys.ok(2, &[path, 0]);
        let n = sys.ok(0, &[fd, buf, 8192]);
        sys.ok(3, &[fd]);
        let mut bytes = vec![0; n as usize];
        sys.k.mm.read_user(buf, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let status = text(&mut sys, "status");
    for line in [
        "Groups:\t0 44 ",
        "CapEff:\t00000000a00c25fb",
        "CapBnd:\t00000000a00c25fb",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    let limits = text(&mut sys, "limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().collect::<Vec<_>>()[3..5], ["5", "6"]);
    let mounts = text(&mut sys, "mounts");
    assert!(mounts.lines().any(|line| line.starts_with("tmpfs / tmpfs ro,")), "{mounts}");
    const MKDIR: u64 = 83;
    let (there, shm) = (sys.string("/new"), sys.string("/dev/shm/new"));
    assert_eq!(sys.err(MKDIR, &[there, 0o755]), Errno::EROFS);
    sys.ok(MKDIR, &[shm, 0o755]);
}
