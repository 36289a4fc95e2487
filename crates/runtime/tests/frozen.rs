//! A training, what of it becomes part of a box, and how that runs: here, on a plain host, and in Node where there is one. These
//! need the guest program; without it they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod harness;

use harness::{config, elf, guest, image, input, runtime};
use link::{LinkError, LinkInput, Linker, Output as Form};
use rootfs::config::CpuLevel;
use runtime::{
    Besides, Input, Outcome, Output, Patience, RunOptions, Runtime, StepInput, Trained, Translation,
};
use std::io::Cursor;
use std::process::Command;
use std::time::{Duration, Instant};
use translate::desk::Field;
use wasmtime::{Config, Engine, Linker as Host, Memory, Module, Store, Val};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// Prints what a sum of 200,000 calls gives; then `ending`.
fn program(ending: &[u8; 9]) -> Vec<u8> {
    let code: [&[u8]; 3] = [
        // mov rbx, 200000; mov r12d, -1; 1: mov edi, r12d; call step; mov r12d, eax; dec rbx; jnz 1b
        // then r12d in hexadecimal and a newline at [rsp - 64], and write(1, [rsp - 64], 9)
        b"\x48\xc7\xc3\x40\x0d\x03\x00\x41\xbc\xff\xff\xff\xff\x44\x89\xe7\xe8\x4f\x00\x00\x00\x41\x89\xc4\
          \x48\xff\xcb\x75\xf0\x48\x8d\x74\x24\xc0\xb9\x08\x00\x00\x00\x41\xc1\xc4\x04\x44\x89\xe0\x83\xe0\
          \x0f\x3c\x0a\x72\x02\x04\x27\x04\x30\x88\x06\x48\xff\xc6\xff\xc9\x75\xe5\xc6\x06\x0a\x48\x8d\x74\
          \x24\xc0\xbf\x01\x00\x00\x00\xba\x09\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05",
        ending,
        // step: eight steps of CRC-32 of edi; add eax, ebx; ret
        b"\x89\xf8\xb9\x08\x00\x00\x00\xd1\xe8\x73\x05\x35\x20\x83\xb8\xed\xff\xc9\x75\xf3\x01\xd8\xc3",
    ];
    elf(&code.concat())
}

/// What [`program`] prints (as it does natively).
const PRINTED: &str = "b7e0d3b1\n";
/// exit(0)
const EXIT: &[u8; 9] = b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05";
/// exit(3)
const FAIL: &[u8; 9] = b"\x6a\x03\x5f\x6a\x3c\x58\x0f\x05\x90";
/// 1: pause(); jmp 1b
const WAIT: &[u8; 9] = b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7";
/// 1: jmp 1b
const SPIN: &[u8; 9] = b"\xeb\xfe\x90\x90\x90\x90\x90\x90\x90";

fn captured() -> RunOptions {
    RunOptions {
        stdin: Input::Empty,
        stdout: Output::Capture,
        stderr: Output::Capture,
        ..RunOptions::default()
    }
}

fn train(runtime: &Runtime, image: &[u8], total: Duration) -> (Outcome, Trained) {
    train_besides(runtime, image, total, Besides::AlwaysHot)
}

fn train_besides(
    runtime: &Runtime,
    image: &[u8],
    total: Duration,
    besides: Besides,
) -> (Outcome, Trained) {
    let translation =
        Translation { threshold: 1, sample: 2_000, wait: true, ..Translation::default() };
    let input = StepInput {
        guest: link::guest_wasm().unwrap(),
        image: &mut &*image,
        image_len: image.len() as u64,
        config: &config(),
        layer_dir: None,
        clock: None,
    };
    let patience = Patience { total, idle: Duration::from_millis(200) };
    runtime.train(input, RunOptions { translation, ..captured() }, patience, besides).unwrap()
}

fn make(
    runtime: &Runtime,
    image: &[u8],
    trained: &Trained,
    output: Form,
) -> Result<Vec<u8>, LinkError> {
    let (mut image, config) = (image, config());
    let frozen = Some(trained.frozen(CpuLevel::V2, 1 << 20, 1 << 20));
    let input = LinkInput { boot_len: 4096, frozen, ..input(&mut image, &config, output) };
    let mut out = Vec::new();
    let report =
        Linker::new(guest(output)?, runtime.cache().clone()).link(input, &mut out)?.unwrap();
    assert!(report.regions > 0 && report.entries > 0, "{report:?}");
    assert_eq!((report.over_budget, report.unusable), (0, 0));
    Ok(out)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn trainings_of_commands_that_wait_fail_or_never_end_are_over_and_found_something() {
    let Some(runtime) = runtime("frozen") else { return };
    let short = Duration::from_secs(2);
    for (ending, total, status) in
        [(EXIT, LONG, 0), (FAIL, LONG, 3), (WAIT, LONG, 0), (SPIN, short, 124)]
    {
        let start = Instant::now();
        let (outcome, trained) = train(runtime, &image(&program(ending)), total);
        let printed = String::from_utf8(outcome.stdout).unwrap();
        assert_eq!((printed.as_str(), outcome.status), (PRINTED, status));
        assert!(
            trained.regions.first().is_some_and(|region| region.share > Some(500_000))
                && trained.in_regions > 1_000_000,
            "{trained:?}"
        );
        assert!(total == short || start.elapsed() < Duration::from_secs(30));
        let again = Trained::from_bytes(&trained.to_bytes()).unwrap();
        assert_eq!(again.to_bytes(), trained.to_bytes());
        let bytes = trained.to_bytes();
        assert!(Trained::from_bytes(&bytes[..bytes.len() - 8]).is_none());
    }
}

/// A host that knows nothing of us; what ran in regions there.
struct Plain {
    engine: Engine,
    module: Module,
}

impl Plain {
    fn new(wasm: &[u8]) -> Plain {
        Plain::with(&mut Config::new(), wasm)
    }

    fn with(config: &mut Config, wasm: &[u8]) -> Plain {
        let engine = Engine::new(config.cranelift_opt_level(wasmtime::OptLevel::None)).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        Plain { engine, module }
    }

    /// What it prints, and how many instructions ran in regions. `change` may alter its memory before it starts.
    fn run(&self, env: &[(&str, &str)], change: impl FnOnce(&mut [u8])) -> (String, u64) {
        let stdout = MemoryOutputPipe::new(1 << 20);
        let wasi = WasiCtxBuilder::new().envs(env).stdout(stdout.clone()).build_p1();
        let mut host = Host::<WasiP1Ctx>::new(&self.engine);
        add_to_linker_sync(&mut host, |state| state).unwrap();
        let mut store = Store::new(&self.engine, wasi);
        let instance = host.instantiate(&mut store, &self.module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        change(memory.data_mut(&mut store));
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        // A status is an error, too.
        let _ = start.call(&mut store, ());
        let Val::I32(desk) = instance.get_global(&mut store, "boxer-desk").unwrap().get(&mut store)
        else {
            panic!("no desk")
        };
        let in_regions = word(&store, memory, desk as usize + Field::InRegions.offset() as usize);
        (String::from_utf8(stdout.contents().to_vec()).unwrap(), in_regions.into())
    }
}

fn word(store: &Store<WasiP1Ctx>, memory: Memory, at: usize) -> u32 {
    u32::from_le_bytes(memory.data(store)[at..at + 4].try_into().unwrap())
}

/// Where the table is of what came with the box.
fn table(memory: &[u8]) -> usize {
    let head = [0x6672_7A01_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    memory.windows(8).position(|bytes| bytes == head).unwrap()
}

#[test]
fn compiled_code_runs_on_every_host_and_a_table_that_does_not_fit_is_left_alone() {
    let Some(runtime) = runtime("frozen") else { return };
    let image = image(&program(EXIT));
    let (_, trained) = train(runtime, &image, LONG);
    let wasm = make(runtime, &image, &trained, Form::Module).unwrap();
    for on in [false, true] {
        let translation = Translation { on, ..Translation::default() };
        let outcome = runtime.run_bytes(&wasm, RunOptions { translation, ..captured() }).unwrap();
        assert_eq!(String::from_utf8(outcome.stdout).unwrap(), PRINTED, "translation {on}");
    }

    let plain = Plain::new(&wasm);
    let (printed, in_regions) = plain.run(&[], |_| {});
    assert_eq!(printed, PRINTED);
    assert!(in_regions > 6_000_000, "{in_regions}");
    for env in [("BOXER_TRANSLATE", "none"), ("BOXER_CPU", "x86-64-v3")] {
        assert_eq!(plain.run(&[env], |_| {}), (PRINTED.to_owned(), 0), "{env:?}");
    }
    // Another version, another processor, more entries than there are, none, and no pages.
    for (field, value) in [(0, 0x6672_7A02_u32), (1, 3), (2, u32::MAX), (2, 0), (4, u32::MAX)] {
        let ran = plain.run(&[], |memory| {
            let at = table(memory) + 4 * field;
            memory[at..at + 4].copy_from_slice(&value.to_le_bytes());
        });
        assert_eq!(ran, (PRINTED.to_owned(), 0), "word {field}");
    }
    // Pages of other code.
    let ran = plain.run(&[], |memory| {
        let at = table(memory);
        let count = |n: usize| {
            let word = memory[at + 4 * n..][..4].try_into().unwrap();
            u32::from_le_bytes(word) as usize
        };
        let (entries, regions, pages) = (count(2), count(3), count(4));
        for page in 0..pages {
            let phys = at + 4 * (5 + 6 * entries + 2 * regions + 3 * page + 2);
            memory[phys..phys + 4].copy_from_slice(&0x1000_u32.to_le_bytes());
        }
    });
    assert_eq!(ran, (PRINTED.to_owned(), 0));
    in_node(&wasm);
}

#[test]
fn all_code_of_what_was_trained_can_become_part_of_the_box() {
    let Some(runtime) = runtime("frozen") else { return };
    let image = image(&program(EXIT));
    let (_, hot) = train(runtime, &image, LONG);
    let (_, all) = train_besides(runtime, &image, LONG, Besides::All);
    assert_eq!((hot.found(), all.found()), (hot.regions.len(), hot.regions.len()));
    assert!(all.regions.len() > hot.regions.len());
    assert_eq!(Trained::from_bytes(&all.to_bytes()).unwrap().to_bytes(), all.to_bytes());
    let ran = [hot, all].map(|trained| {
        let wasm = make(runtime, &image, &trained, Form::Module).unwrap();
        let (printed, in_regions) = Plain::new(&wasm).run(&[], |_| {});
        assert_eq!(printed, PRINTED);
        in_regions
    });
    // The loop that prints is run eight times, and from the start the other one is not interpreted.
    assert!(ran[1] > ran[0] + 50, "{ran:?}");
}

#[test]
fn a_box_without_simd_runs_on_hosts_that_have_none_and_other_boxes_tell_that_they_need_it() {
    let Some(runtime) = runtime("frozen") else { return };
    let image = image(&program(EXIT));
    let link = |guest| {
        let (mut image, config) = (&*image, config());
        let input = LinkInput { boot_len: 4096, ..input(&mut image, &config, Form::Module) };
        let mut wasm = Vec::new();
        Linker::new(guest, runtime.cache().clone()).link(input, &mut wasm).unwrap();
        let found = link::inspect(&mut Cursor::new(&wasm)).unwrap();
        let needs_simd = link::has_simd(&mut Cursor::new(&wasm), &found).unwrap();
        (wasm, needs_simd)
    };
    assert!(link(link::guest_wasm().unwrap()).1);
    let (wasm, needs_simd) = link(link::guest_wasm_without_simd().unwrap());
    assert!(!needs_simd);
    let host = &mut Config::new();
    host.wasm_relaxed_simd(false).wasm_simd(false).wasm_tail_call(false);
    assert_eq!(Plain::with(host, &wasm).run(&[], |_| {}).0, PRINTED);
}

/// The same in Node, if there is one that can.
fn in_node(wasm: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("box.wasm");
    std::fs::write(&path, wasm).unwrap();
    // Where the test runs, not where it was compiled: checkouts may share a target folder.
    let script = std::env::current_dir().unwrap().join("../../xtask/hosts/run_node.mjs");
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let major = version.ok().and_then(|text| text[1..].split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 20) {
        println!("skipped: no Node from 20 on");
        return;
    }
    let output = Command::new("node").arg(script).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), PRINTED);
}

#[test]
fn a_component_has_compiled_code_too() {
    let Some(runtime) = runtime("frozen") else { return };
    if link::component_guest_wasm().is_err() {
        println!("skipped: no guest program for components");
        return;
    }
    let image = image(&program(EXIT));
    let (_, trained) = train(runtime, &image, LONG);
    let wasm = make(runtime, &image, &trained, Form::Component).unwrap();
    let outcome = runtime.run_bytes(&wasm, captured()).unwrap();
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), PRINTED);
    let found = link::inspect(&mut Cursor::new(&wasm)).unwrap();
    assert!(found.frozen_json.is_some());
}

#[test]
fn code_of_another_image_is_refused() {
    let Some(runtime) = runtime("frozen") else { return };
    let (_, trained) = train(runtime, &image(&program(EXIT)), LONG);
    let other = image(&program(FAIL));
    let error = make(runtime, &other, &trained, Form::Module).unwrap_err();
    assert!(matches!(error, LinkError::OtherImage), "{error}");
}
