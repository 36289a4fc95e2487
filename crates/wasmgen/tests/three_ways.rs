//! What the processor and the interpreter do, translated code does: the fixtures of `fixtures/x86` and fresh sequences of
//! instructions, run in wasmtime on a memory of the test's own. Where translated code leaves, the interpreter goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unsafe_code)] // the CPU's bytes

use ir::Cpu;
use std::collections::HashSet;
use std::path::Path;
use testkit::cpu::compare::differences;
use testkit::cpu::emulated::Emulated;
use testkit::cpu::{CODE, Case, DATA, DATA_LEN, ENTRY, Outcome, WRITABLE_LEN, line, promised};
use wasmgen::{Layout, Region, shared};
use wasmtime::{
    AsContext, AsContextMut, Caller, Engine, Extern, Func, Instance, Memory, MemoryType, Module,
    Ref, RefType, Store, Table, TableType,
};

const PAGE: u64 = 4096;
const LAYOUT: Layout =
    Layout { cpu: 0x1_0000, read: 0x10_0000, write: 0x50_0000, shared: 0x2_0000, helper: 1 };
/// Where the data pages lie in linear memory.
const PHYS: u32 = 0x90_0000;

/// The code page of a case: int3 around the code.
fn page(case: &Case) -> Vec<u8> {
    let mut page = vec![0xcc; PAGE as usize];
    let at = (ENTRY - CODE) as usize;
    page[at..at + case.code.len()].copy_from_slice(&case.code);
    page
}

/// Everything that can be reached from the start of the case.
fn region(case: &Case) -> Region {
    let page = page(case);
    let mut blocks = Vec::new();
    let (mut todo, mut seen) = (vec![ENTRY], HashSet::new());
    while let Some(pc) = todo.pop() {
        let Some(bytes) = page.get(pc.wrapping_sub(CODE) as usize..) else { continue };
        if bytes.is_empty() || !seen.insert(pc) {
            continue;
        }
        let Ok(block) = x86::lift(bytes, pc, &x86::LiftOptions { level: promised::LEVEL }) else {
            continue;
        };
        use ir::Term::*;
        match block.term {
            Jump { target } => todo.push(target),
            Branch { taken, fallthrough, .. } | BranchNz { taken, fallthrough, .. } => {
                todo.extend([taken, fallthrough]);
            }
            Call { ret, .. } | CallIndirect { ret, .. } => todo.push(ret),
            _ => {}
        }
        blocks.push(block);
    }
    let indirect = blocks.iter().map(|block| block.pc).collect();
    Region { root: ENTRY, blocks, indirect }
}

fn bytes_of(cpu: &mut Cpu) -> &mut [u8] {
    // SAFETY: plain numbers; what is written back was made by code for the same layout.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(cpu).cast(), size_of::<Cpu>()) }
}

/// A store with what translated code imports.
struct Host {
    store: Store<()>,
    memory: Memory,
    table: Table,
}

impl Host {
    fn new(engine: &Engine) -> Host {
        let mut store = Store::new(engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(256, None)).unwrap();
        let table =
            Table::new(&mut store, TableType::new(RefType::FUNCREF, 2, None), Ref::Func(None))
                .unwrap();
        let helper = Func::wrap(
            &mut store,
            move |mut caller: Caller<'_, ()>, at: i32, fields: i64, imm: i64| -> i32 {
                let mut cpu = Box::new(Cpu::new());
                memory.read(caller.as_context(), at as usize, bytes_of(&mut cpu)).unwrap();
                let trapped = interp::run_op(&mut cpu, fields as u64, imm);
                memory.write(caller.as_context_mut(), at as usize, bytes_of(&mut cpu)).unwrap();
                trapped as i32
            },
        );
        table.set(&mut store, u64::from(LAYOUT.helper), Ref::Func(Some(helper))).unwrap();
        for page in 0..DATA_LEN as u64 / PAGE {
            let va = DATA + PAGE * page;
            let delta = PHYS.wrapping_add((PAGE * page) as u32).wrapping_sub(va as u32);
            let at = 4 * (va / PAGE) as usize;
            memory.write(&mut store, LAYOUT.read as usize + at, &delta.to_le_bytes()).unwrap();
            if PAGE * page < WRITABLE_LEN as u64 {
                memory.write(&mut store, LAYOUT.write as usize + at, &delta.to_le_bytes()).unwrap();
            }
        }
        Host { store, memory, table }
    }

    fn instance(&mut self, module: &Module) -> Instance {
        let imports: Vec<Extern> = module
            .imports()
            .map(|import| match import.name() {
                "memory" => self.memory.into(),
                _ => self.table.into(),
            })
            .collect();
        Instance::new(&mut self.store, module, &imports).unwrap()
    }

    /// Runs function `n` of the module on `cpu` and the data pages.
    fn run(&mut self, instance: Instance, n: usize, cpu: &mut Cpu, data: &mut [u8]) {
        let (memory, store) = (self.memory, &mut self.store);
        memory.write(&mut *store, LAYOUT.cpu as usize, bytes_of(cpu)).unwrap();
        memory.write(&mut *store, PHYS as usize, data).unwrap();
        let at = |offset: u64| LAYOUT.shared as usize + offset as usize;
        memory.write(&mut *store, at(shared::FUEL), &4096_i64.to_le_bytes()).unwrap();
        memory.write(&mut *store, at(shared::LEAVE), &[0; 4]).unwrap();
        memory.write(&mut *store, at(shared::EPOCH), &[1, 0, 0, 0]).unwrap();
        let run = instance.get_typed_func::<(i32, i32), i64>(&mut *store, &n.to_string()).unwrap();
        let rip = run.call(&mut *store, (LAYOUT.cpu as i32, 10)).unwrap();
        memory.read(&mut *store, LAYOUT.cpu as usize, bytes_of(cpu)).unwrap();
        memory.read(&mut *store, PHYS as usize, data).unwrap();
        cpu.rip = rip as u64;
    }
}

/// Runs `cases` translated; what differs from what was expected.
fn differing(cases: &[(String, Case, Outcome)]) -> Vec<String> {
    let engine = Engine::default();
    let mut ours = Emulated::new();
    let mut found = Vec::new();
    let (mut wasm_len, mut x86_len, mut translated) = (0, 0, 0);
    for batch in cases.chunks(256) {
        let regions: Vec<Region> = batch.iter().map(|(_, case, _)| region(case)).collect();
        let wasm = wasmgen::module(&regions, &LAYOUT);
        wasm_len += wasm.len();
        x86_len += batch.iter().map(|(_, case, _)| case.code.len()).sum::<usize>();
        let module = match Module::new(&engine, &wasm) {
            Ok(module) => module,
            Err(error) => {
                for (region, (place, case, _)) in regions.iter().zip(batch) {
                    let wasm = wasmgen::module(std::slice::from_ref(region), &LAYOUT);
                    if let Err(error) = Module::validate(&engine, &wasm) {
                        let text: String = region.blocks.iter().map(ToString::to_string).collect();
                        panic!("{place}: {:02x?}: {error:?}\n{text}", case.code);
                    }
                }
                panic!("{error:?}");
            }
        };
        let mut host = Host::new(&engine);
        let instance = host.instance(&module);
        for (n, (place, case, expected)) in batch.iter().enumerate() {
            let actual = ours.run_after(case, |cpu, data| {
                host.run(instance, n, cpu, data);
                translated += usize::from(cpu.rip != ENTRY);
            });
            let diff = differences(case, expected, &actual);
            if !diff.is_empty() {
                found.push(format!("{place}: {}", diff.join("; ")));
            }
        }
    }
    println!(
        "{} cases, {translated} translated; {x86_len} bytes of code, {wasm_len} of Wasm",
        cases.len()
    );
    assert!(translated > cases.len() / 2, "most of it was left to the interpreter");
    found
}

#[test]
fn fixtures_hold_in_translated_code() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/x86");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ins"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (n, text) in text.lines().enumerate() {
            if !text.is_empty() && !text.starts_with('#') {
                let place = format!("{}:{}", file.file_name().unwrap().to_string_lossy(), n + 1);
                let (case, outcome) = line::parse(text).unwrap_or_else(|e| panic!("{place}: {e}"));
                all.push((place, case, outcome));
            }
        }
    }
    let found = differing(&all);
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
