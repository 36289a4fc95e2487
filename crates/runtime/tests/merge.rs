//! Programs alone and merged with a box that does nothing but listen: both must say the same, and trap alike.
#![allow(clippy::unwrap_used)] // helpers of tests are tests, too

use link::{LinkError, LinkInput, Linker, Output, Program, ProgramError};
use rootfs::config::BoxConfig;
use runtime::Runtime;
use std::sync::OnceLock;
use wasmtime::{Caller, Engine, Module, Store, Trap};

/// Bytes of a page.
const PAGE: u64 = 64 << 10;
/// Room that the linker leaves for the box, in bytes.
const ARENA: u32 = 256 << 20;

/// A box: it writes what the program says into its own memory, behind the number of words at 0.
const OWN: &str = r#"(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $outside (result i32)))
  (import "boxer" "program-pages" (func $pages (result i32)))
  (memory (export "memory") 3)
  (global $base (mut i32) (i32.const 0))
  (func (export "boxer-program-begin") (param i32) (global.set $base (local.get 0)))
  (func $say (export "preview1:proc_raise") (param i32) (result i32)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (i32.store (i32.mul (i32.load (i32.const 0)) (i32.const 4)) (local.get 0))
    (i32.const 0))
  (func (export "preview1:fd_close") (param i32) (result i32)
    (drop (call $say (call $pages)))
    (drop (call $say (memory.size)))
    (drop (call $say (memory.grow (local.get 0))))
    (drop (call $say (memory.size)))
    (i32.load8_u (i32.add (global.get $base) (local.get 0))))
  (func (export "preview1:sched_yield") (result i32) (call $outside))
  (func (export "boxer-reserve") (param i32) (result i32) (i32.const 65536))
  (func (export "boxer-config-reserve") (param i32) (result i32) (i32.const 131072))
  (func (export "boxer-arena") (param i32))
  (func (export "wizer-initialize"))
  (func (export "boxer-program-end") (drop (call $say (i32.const 99)))))"#;

/// What a program said, and how it ended.
type Said = (Vec<i32>, Option<Trap>);

fn program(body: &str) -> Vec<u8> {
    let imports = r#"
      (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;
    let say = "(func $say (param i32) (drop (call $raise (local.get 0))))";
    wat::parse_str(format!("(module {imports} {body} {say})")).unwrap()
}

fn run(module: &[u8]) -> (Store<Vec<i32>>, wasmtime::Result<wasmtime::Instance>, Option<Trap>) {
    let engine = Engine::default();
    let module = Module::new(&engine, module).unwrap();
    let mut store = Store::new(&engine, Vec::new());
    let mut linker = wasmtime::Linker::new(&engine);
    let raise = |mut caller: Caller<'_, Vec<i32>>, said: i32| {
        caller.data_mut().push(said);
        0_i32
    };
    linker.func_wrap("wasi_snapshot_preview1", "proc_raise", raise).unwrap();
    linker.func_wrap("wasi_snapshot_preview1", "sched_yield", || 7_i32).unwrap();
    let instance = linker.instantiate(&mut store, &module);
    let start = instance.as_ref().ok().copied();
    let outcome = match (&instance, start) {
        (_, Some(start)) => start
            .get_typed_func::<(), ()>(&mut store, "_start")
            .and_then(|start| start.call(&mut store, ())),
        (Err(error), _) => Err(wasmtime::Error::msg(format!("{error}"))),
        _ => Ok(()),
    };
    let trap =
        outcome.err().map(|error| *error.downcast_ref::<Trap>().unwrap_or(&Trap::NullReference));
    (store, instance, trap)
}

fn alone(program: &[u8]) -> Said {
    let (store, instance, trap) = run(program);
    // What traps when an instance is made does so at the start of a box.
    let trap = match instance {
        Ok(_) => trap,
        Err(error) => error.downcast_ref::<Trap>().copied(),
    };
    (store.into_data(), trap)
}

/// The box with this program.
fn merge(program: &Program<'_>) -> Result<Vec<u8>, LinkError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let cache = std::env::temp_dir().join("boxer-tests").join("merge");
    let runtime = RUNTIME.get_or_init(|| Runtime::with_cache_dir(&cache).unwrap());
    let input = LinkInput {
        image: &mut &b"image"[..],
        image_len: 5,
        boot_len: 5,
        config: &BoxConfig::default(),
        image_config_json: None,
        output: Output::Module,
        frozen: None,
    };
    let own = wat::parse_str(OWN).unwrap();
    let mut out = Vec::new();
    let linker = Linker::new(&own, runtime.cache().clone()).with_program(program);
    linker.link(input, &mut out)?;
    Ok(out)
}

fn merged(program: &[u8]) -> Said {
    let module = merge(&Program::read(program).unwrap()).unwrap();
    let (mut store, instance, trap) = run(&module);
    let memory = instance.unwrap().get_memory(&mut store, "memory").unwrap();
    let word =
        |n: usize| i32::from_le_bytes(memory.data(&store)[4 * n..4 * n + 4].try_into().unwrap());
    let mut said: Vec<i32> = (1..=word(0) as usize).map(word).collect();
    if trap.is_none() {
        assert_eq!(said.pop(), Some(99), "the box hears of the end");
    }
    (said, trap)
}

/// Runs a program of these definitions, whose `_start` does `body`, both ways.
fn same(definitions: &str, body: &str) -> Said {
    let program = program(&format!(r#"{definitions} (func (export "_start") {body})"#));
    let (alone, merged) = (alone(&program), merged(&program));
    assert_eq!(alone, merged, "{definitions} {body}");
    merged
}

const MEMORY: &str = r#"(memory (export "memory") 2 5) (data $text "abcdefgh") (data (i32.const 100) "first") (data (i32.const 102) "over")"#;

/// An address, as an expression.
fn at(address: u32) -> String {
    format!("(i32.const {})", address as i32)
}

#[test]
fn sizes_are_the_programs_own() {
    let (said, _) = same(
        MEMORY,
        "(call $say (memory.size)) (call $say (memory.grow (i32.const 2))) (call $say (memory.size))
         (call $say (memory.grow (i32.const 2))) (call $say (memory.grow (i32.const -1)))
         (call $say (memory.grow (i32.const 0))) (call $say (call $yield))
         (i32.store (i32.const 262140) (i32.const 5)) (call $say (i32.load (i32.const 262140)))",
    );
    assert_eq!(said, [2, 2, 4, -1, -1, 4, 7, 5]);
}

#[test]
fn accesses_are_exact_at_every_edge() {
    let end = 2 * PAGE as u32;
    let mut trapped = 0;
    for (load, store, len) in [
        ("i32.load8_u", "i32.store8", 1_u32),
        ("i32.load16_u", "i32.store16", 2),
        ("i32.load", "i32.store", 4),
    ] {
        for address in
            [0, 4, end - len, end - len + 1, end, u32::MAX, 1 << 31, 0_u32.wrapping_sub(ARENA)]
        {
            for offset in [
                0,
                4,
                end - len,
                end,
                ARENA,
                u32::MAX - ARENA,
                u32::MAX - 4 * PAGE as u32,
                u32::MAX,
            ] {
                let body = format!(
                    "({store} offset={offset} {at} (i32.const 77)) (call $say ({load} offset={offset} {at}))",
                    at = at(address)
                );
                let (said, trap) = same(MEMORY, &body);
                let fits =
                    u64::from(address) + u64::from(offset) + u64::from(len) <= u64::from(end);
                assert_eq!(trap.is_none(), fits, "{body}");
                assert_eq!(said == [77], fits, "{body}");
                trapped += u32::from(!fits);
            }
        }
    }
    assert!(trapped > 100);
    same(
        MEMORY,
        "(v128.store offset=16 (i32.const 8) (v128.const i32x4 1 2 3 4))
         (call $say (i32x4.extract_lane 2 (v128.load offset=8 (i32.const 16))))
         (call $say (i32.wrap_i64 (i64.load32_u offset=28 (i32.const 4))))",
    );
}

#[test]
fn whole_pieces_are_exact() {
    let end = 2 * PAGE as u32;
    let base = u32::MAX - ARENA - 3 * PAGE as u32;
    for address in [0, 7, end - 8, end - 7, end, u32::MAX, u32::MAX - 7, base, base + 1, base + 2] {
        for len in [0, 1, 8, 9, u32::MAX] {
            let (address, len) = (at(address), at(len));
            let show =
                "(call $say (i32.load (i32.const 0))) (call $say (i32.load (i32.const 131068)))";
            same(MEMORY, &format!("(memory.fill {address} (i32.const 0x41) {len}) {show}"));
            same(MEMORY, &format!("(memory.init $text {address} (i32.const 0) {len}) {show}"));
            for other in [0, 100, end - 8] {
                let other = at(other);
                same(MEMORY, &format!("(memory.copy {address} {other} {len}) {show}"));
                same(MEMORY, &format!("(memory.copy {other} {address} {len}) {show}"));
            }
        }
    }
    let show = "(call $say (i32.load (i32.const 0)))";
    same(MEMORY, &format!("(memory.init $text (i32.const 0) (i32.const 5) (i32.const 3)) {show}"));
    same(
        MEMORY,
        &format!(
            "(data.drop $text) (memory.init $text (i32.const 0) (i32.const 0) (i32.const 0)) {show}
                  (memory.init $text (i32.const 0) (i32.const 0) (i32.const 1))"
        ),
    );
}

#[test]
fn data_come_as_they_were_given() {
    let (said, _) = same(
        &format!(
            r#"{MEMORY} (global $g i32 (i32.const 8)) (data (offset (i32.add (i32.const 4) (i32.const 4))) "wxyz")"#
        ),
        "(call $say (i32.load (i32.const 100))) (call $say (i32.load (i32.const 102)))
         (call $say (i32.load (i32.const 8))) (call $say (global.get $g))",
    );
    assert_eq!(said[0], i32::from_le_bytes(*b"fiov"));
    let (_, trap) = same(r#"(memory (export "memory") 1) (data (i32.const 65534) "long")"#, "");
    assert_eq!(trap, Some(Trap::MemoryOutOfBounds));
    let (_, trap) = same(r#"(memory (export "memory") 1) (data (i32.const -2) "long")"#, "");
    assert_eq!(trap, Some(Trap::MemoryOutOfBounds));
}

#[test]
fn tables_globals_and_the_start_function_keep_their_meaning() {
    let (said, _) = same(
        r#"(memory (export "memory") 1)
           (type $unary (func (param i32) (result i32)))
           (global $count (mut i32) (i32.const 40))
           (table $one 4 funcref) (table $two 8 funcref)
           (elem (table $two) (i32.const 2) func $double $square)
           (elem $later func $square)
           (elem declare func $double)
           (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
           (func $square (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
           (func $first (global.set $count (i32.add (global.get $count) (i32.const 2))))
           (start $first)"#,
        "(call $say (global.get $count))
         (call $say (call_indirect $two (type $unary) (i32.const 5) (i32.const 2)))
         (call $say (call_indirect $two (type $unary) (i32.const 5) (i32.const 3)))
         (table.init $one $later (i32.const 1) (i32.const 0) (i32.const 1))
         (elem.drop $later)
         (call $say (call_indirect $one (type $unary) (i32.const 6) (i32.const 1)))
         (table.set $one (i32.const 0) (ref.func $double))
         (call $say (call_indirect $one (type $unary) (i32.const 6) (i32.const 0)))
         (call $say (table.size $two))
         (drop (call_indirect $two (type $unary) (i32.const 5) (i32.const 0)))",
    );
    assert_eq!(said, [42, 10, 25, 36, 12, 8]);
}

#[test]
fn the_box_has_its_own_end_of_memory() {
    let program = program(
        r#"(import "wasi_snapshot_preview1" "fd_close" (func $ask (param i32) (result i32)))
           (memory (export "memory") 2) (data (i32.const 1) "!")
           (func (export "_start")
             (call $say (call $ask (i32.const 1)))
             (call $say (call $ask (i32.const 0x10000)))
             (drop (memory.grow (i32.const 3)))
             (call $say (call $ask (i32.const 1))))"#,
    );
    let (said, trap) = merged(&program);
    assert_eq!(trap, None);
    // Sizes before, what grow says, sizes after; and the program's byte, which the box has found.
    let rest = [2, 3, 3, 4, 33, 2, 4, -1, 4, 0, 5, 4, 4, 5, 33];
    assert_eq!(said, rest);
}

#[test]
fn what_cannot_be_linked_is_named() {
    let refused = |text: &str| {
        let bytes = wat::parse_str(text).unwrap();
        Program::read(&bytes).unwrap_err().to_string()
    };
    let start = r#"(func (export "_start"))"#;
    for (text, named) in [
        (r#"(component)"#.to_owned(), "component"),
        (
            r#"(module (memory (export "memory") 1) (func (export "_initialize")))"#.into(),
            "reactor",
        ),
        (r#"(module (memory (export "memory") 1))"#.into(), "no function `_start`"),
        (
            r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#.into(),
            "no function `_start`",
        ),
        (
            format!(r#"(module (import "env" "f" (func)) (memory (export "memory") 1) {start})"#),
            "`env.f`",
        ),
        (
            format!(
                r#"(module (import "wasi_unstable" "fd_read" (func)) (memory (export "memory") 1) {start})"#
            ),
            "`wasi_unstable.fd_read`",
        ),
        (
            format!(r#"(module (import "env" "memory" (memory 1 2 shared)) {start})"#),
            "`env.memory`",
        ),
        (format!(r#"(module (memory (export "memory") i64 1) {start})"#), "memory64"),
        (format!(r#"(module (memory (export "memory") 1 2 shared) {start})"#), "threads"),
        (
            format!(r#"(module (memory (export "memory") 1) (memory 1) {start})"#),
            "multiple memories",
        ),
        (format!("(module {start})"), "is missing"),
        (format!("(module (memory 1) {start})"), "not exported"),
    ] {
        let said = refused(&text);
        assert!(said.contains(named), "{text}: {said}");
    }
    assert!(matches!(Program::read(b"\0asm\x01\0\0\0\x01"), Err(ProgramError::Invalid(_))));

    let cannot = |text: &str| {
        let bytes = wat::parse_str(text).unwrap();
        merge(&Program::read(&bytes).unwrap()).unwrap_err().to_string()
    };
    let import = |name: &str, ty: &str| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "{name}" (func {ty})) (memory (export "memory") 1) {start})"#
        )
    };
    assert!(cannot(&import("fd_fly", "")).contains("fd_fly"));
    assert!(cannot(&import("proc_raise", "(param i64) (result i32)")).contains("not WASI's"));
    let large = format!(r#"(module (memory (export "memory") 65000) {start})"#);
    assert!(cannot(&large).contains("there is room for"));
}

/// Whatever is in a file, it is refused or linked.
#[test]
fn damaged_programs_do_no_harm() {
    let whole = program(&format!(
        r#"{MEMORY} (func (export "_start") (call $say (memory.grow (i32.const 1))) (memory.fill (i32.const 0) (i32.const 0) (i32.const 4)))"#
    ));
    let mut read = 0;
    for at in 0..whole.len() {
        for change in [0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            if let Ok(program) = Program::read(&damaged) {
                read += u32::from(merge(&program).is_ok());
            }
        }
        let _ = Program::read(&whole[..at]);
    }
    assert!(read > 0);
}
