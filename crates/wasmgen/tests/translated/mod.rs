//! Cases of the CPU's tests as translated code in wasmtime, on a memory of the test's own. Where translated code leaves, the
//! interpreter goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unsafe_code)] // the CPU's bytes

pub mod shapes;

use ir::{Block, Cpu, Term};
use mem::desk::{jump_index, shared};
use std::collections::{BTreeMap, BTreeSet};
use testkit::cpu::emulated::Emulated;
use testkit::cpu::{CODE, Case, DATA, DATA_LEN, ENTRY, Outcome, WRITABLE_LEN, promised};
use wasmgen::{Layout, Region};
use wasmtime::{
    AsContext, AsContextMut, Caller, Engine, Extern, Func, Instance, Memory, MemoryType, Module,
    Ref, RefType, Store, Table, TableType, TypedFunc,
};

const PAGE: u64 = 4096;
const LAYOUT: Layout =
    Layout { cpu: 0x1_0000, read: 0x10_0000, write: 0x90_0000, shared: 0x2_0000, helper: 1 };
/// Where the first data page lies in linear memory.
const PHYS: u32 = 0x110_0000;

/// Where data page `page` lies: the second behind the first one, the third elsewhere.
fn frame(page: usize) -> u32 {
    PHYS + PAGE as u32 * [0, 1, 5][page]
}
/// First slot of the table for regions.
const FIRST: u64 = 2;
/// Regions of a module.
const BATCH: usize = 256;
/// Turns of translated code before the interpreter has to do the rest.
const TURNS: u32 = 5000;

/// How translated code is entered.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// At the case's start only, once; else wherever a block starts, and calls find their targets.
    pub once: bool,
    /// Fuel of each entry.
    pub fuel: i64,
    /// Calls that may nest.
    pub depth: i32,
}

/// As a rule.
pub const ONCE: Manner = Manner { once: true, fuel: 4096, depth: 10 };

/// What ran.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cases.
    pub cases: usize,
    /// Of these, cases in which translated code got anywhere.
    pub translated: usize,
    /// Bytes of code.
    pub x86: usize,
    /// Bytes of Wasm.
    pub wasm: usize,
}

/// Blocks that the code at `start` leads to; also through calls, or only behind them.
fn reach(page: &[u8], starts: &[u64], through_calls: bool) -> BTreeMap<u64, Block> {
    let (mut todo, mut blocks) = (starts.to_vec(), BTreeMap::new());
    while let Some(pc) = todo.pop() {
        let Some(bytes) = page.get(pc.wrapping_sub(CODE) as usize..) else { continue };
        if bytes.is_empty() || blocks.contains_key(&pc) {
            continue;
        }
        let Ok(block) = x86::lift(bytes, pc, &x86::LiftOptions { level: promised::LEVEL }) else {
            continue;
        };
        match block.term {
            Term::Jump { target } => todo.push(target),
            Term::Branch { taken, fallthrough, .. } | Term::BranchNz { taken, fallthrough, .. } => {
                todo.extend([taken, fallthrough]);
            }
            Term::Call { ret, target } => {
                todo.push(ret);
                todo.extend(through_calls.then_some(target));
            }
            Term::CallIndirect { ret, .. } => todo.push(ret),
            _ => {}
        }
        blocks.insert(pc, block);
    }
    blocks
}

/// The regions of a case: one for the start, or as many as it takes to enter at each block. `entries` are addresses that it also
/// goes to.
fn regions(code: &[u8], entries: &[u64], once: bool) -> Vec<Region> {
    let mut page = vec![0xcc; PAGE as usize];
    let at = (ENTRY - CODE) as usize;
    page[at..at + code.len()].copy_from_slice(code);
    let all = reach(&page, &[&[ENTRY], entries].concat(), true);
    // Behind the code there is nothing but int3.
    let end = ENTRY + code.len() as u64;
    let roots: Vec<u64> =
        if once { vec![ENTRY] } else { all.keys().copied().filter(|pc| *pc < end).collect() };
    let mut regions: Vec<Region> = Vec::new();
    for root in std::iter::once(ENTRY).chain(roots) {
        if regions.iter().any(|region| region.root == root || region.entries.contains(&root)) {
            continue;
        }
        let blocks = reach(&page, &[root], false);
        let indirect = blocks.keys().copied().collect();
        let mut entries: Vec<u64> =
            blocks.keys().copied().filter(|pc| *pc < end && *pc != root).collect();
        if once {
            entries.clear();
        }
        regions.push(Region { root, blocks: blocks.into_values().collect(), indirect, entries });
    }
    regions
}

/// Where regions can be entered, in the order of their functions.
fn entries_of(regions: &[Region]) -> impl Iterator<Item = u64> {
    regions
        .iter()
        .flat_map(|region| std::iter::once(region.root).chain(region.entries.iter().copied()))
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
    epoch: u32,
}

impl Host {
    fn new(engine: &Engine) -> Host {
        let mut store = Store::new(engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(512, None)).unwrap();
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
        // Page 0 has no entry: an address in another page stands there.
        for table in [LAYOUT.read, LAYOUT.write] {
            memory.write(&mut store, table as usize, &(PAGE as u32).to_le_bytes()).unwrap();
        }
        for page in 0..DATA_LEN as u64 / PAGE {
            let va = DATA + PAGE * page;
            let entry = [va as u32, 0, frame(page as usize)];
            let entry = entry.map(u32::to_le_bytes).concat();
            let at = size_of::<mem::Entry>() * (va / PAGE) as usize;
            memory.write(&mut store, LAYOUT.read as usize + at, &entry).unwrap();
            if PAGE * page < WRITABLE_LEN as u64 {
                memory.write(&mut store, LAYOUT.write as usize + at, &entry).unwrap();
            }
        }
        Host { store, memory, table, epoch: 0 }
    }

    /// The functions of the module, which is about `n` regions, in the table from [`FIRST`] on.
    fn functions(&mut self, module: &Module, n: usize) -> Vec<TypedFunc<(i32, i32), i64>> {
        let imports: Vec<Extern> = module
            .imports()
            .map(|import| match import.name() {
                "memory" => self.memory.into(),
                _ => self.table.into(),
            })
            .collect();
        let instance = Instance::new(&mut self.store, module, &imports).unwrap();
        self.table.grow(&mut self.store, n as u64, Ref::Func(None)).unwrap();
        let mut functions = Vec::new();
        for i in 0..n {
            let function = instance.get_func(&mut self.store, &i.to_string()).unwrap();
            self.table.set(&mut self.store, FIRST + i as u64, Ref::Func(Some(function))).unwrap();
            functions.push(function.typed(&self.store).unwrap());
        }
        functions
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.memory.write(&mut self.store, at as usize, bytes).unwrap();
    }

    /// A new case: the regions of `entries` are what the jump cache knows.
    fn begin(&mut self, entries: &BTreeMap<u64, usize>) {
        self.epoch += 1;
        for (pc, n) in entries {
            let entry = jump_index(*pc) as u64;
            let at = u64::from(LAYOUT.shared) + shared::JUMPS + shared::JUMP_SIZE * entry;
            self.write(at, &pc.to_le_bytes());
            self.write(at + shared::JUMP_SLOT, &(FIRST as u32 + *n as u32).to_le_bytes());
            self.write(at + shared::JUMP_EPOCH, &self.epoch.to_le_bytes());
        }
    }

    /// Runs a region on `cpu` and the data pages until it leaves; whether to the interpreter.
    fn run(
        &mut self,
        function: &TypedFunc<(i32, i32), i64>,
        manner: Manner,
        cpu: &mut Cpu,
        data: &mut [u8],
    ) -> bool {
        let shared = u64::from(LAYOUT.shared);
        self.write(LAYOUT.cpu.into(), bytes_of(cpu));
        for (page, data) in data.chunks(PAGE as usize).enumerate() {
            self.write(frame(page).into(), data);
        }
        self.write(shared + shared::FUEL, &manner.fuel.to_le_bytes());
        self.write(shared + shared::LEAVE, &[0; 4]);
        self.write(shared + shared::EPOCH, &self.epoch.to_le_bytes());
        let rip = function.call(&mut self.store, (LAYOUT.cpu as i32, manner.depth)).unwrap();
        self.memory.read(&self.store, LAYOUT.cpu as usize, bytes_of(cpu)).unwrap();
        for (page, data) in data.chunks_mut(PAGE as usize).enumerate() {
            self.memory.read(&self.store, frame(page) as usize, data).unwrap();
        }
        cpu.rip = rip as u64;
        let mut leave = [0; 4];
        self.memory.read(&self.store, (shared + shared::LEAVE) as usize, &mut leave).unwrap();
        leave != [0; 4]
    }
}

/// Runs cases translated in `manner`, with the addresses that each also goes to; calls `each` with its number and what came
/// of it.
pub fn run(
    cases: &[(Case, Vec<u64>)],
    manner: Manner,
    mut each: impl FnMut(usize, &Outcome),
) -> Tally {
    let engine = Engine::default();
    let mut ours = Emulated::new();
    let mut tally = Tally { cases: cases.len(), ..Tally::default() };
    let mut next = 0;
    while next < cases.len() {
        // Neighbours often have the same code.
        let (mut modules, mut regions_of, start) = (Vec::new(), Vec::new(), next);
        while next < cases.len() && modules.len() < BATCH {
            let (case, entries) = &cases[next];
            if next == start || cases[next - 1].0.code != case.code {
                tally.x86 += case.code.len();
                let new = regions(&case.code, entries, manner.once);
                let first = entries_of(&modules).count();
                // An address may be an entry of several regions: any will do.
                let roots = entries_of(&new).zip(first..).collect();
                regions_of.push(roots);
                modules.extend(new);
            } else {
                regions_of.push(BTreeMap::clone(&regions_of[regions_of.len() - 1]));
            }
            next += 1;
        }
        let wasm = wasmgen::module(&modules, &LAYOUT, 0);
        tally.wasm += wasm.len();
        let module = Module::new(&engine, &wasm).unwrap_or_else(|error| {
            for region in &modules {
                let wasm = wasmgen::module(std::slice::from_ref(region), &LAYOUT, 7);
                if let Err(error) = Module::validate(&engine, &wasm) {
                    let text: String = region.blocks.iter().map(ToString::to_string).collect();
                    panic!("{error:?}\n{text}");
                }
            }
            panic!("{error:?}");
        });
        let mut host = Host::new(&engine);
        let functions = host.functions(&module, entries_of(&modules).count());
        for (n, roots) in (start..).zip(&regions_of) {
            host.begin(roots);
            let (mut moved, mut turns) = (false, 0);
            let outcome = ours.run_in_turns(&cases[n].0, |cpu, data| {
                loop {
                    let region = roots.get(&cpu.rip).filter(|_| !cpu.single_steps());
                    turns += 1;
                    let (Some(region), true) = (region, turns < TURNS) else { break };
                    let from = cpu.rip;
                    let leaves = host.run(&functions[*region], manner, cpu, data);
                    moved |= cpu.rip != from;
                    if leaves || manner.once {
                        break;
                    }
                }
                if manner.once || turns >= TURNS { 4096 } else { 1 }
            });
            tally.translated += usize::from(moved);
            each(n, &outcome);
        }
    }
    tally
}

/// All addresses that `cases` go to are in their code.
pub fn without_entries(cases: impl IntoIterator<Item = Case>) -> Vec<(Case, Vec<u64>)> {
    cases.into_iter().map(|case| (case, Vec::new())).collect()
}

/// Runs cases by the interpreter and translated; what differs.
pub fn differing(cases: &[(Case, Vec<u64>)], manner: Manner) -> (Tally, Vec<String>) {
    use testkit::cpu::{End, compare::differences, line};
    let mut interpreter = Emulated::new();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let tally = run(cases, manner, |n, actual| {
        let case = &cases[n].0;
        let expected = interpreter.run(case);
        // In a loop that does not end in time the two stop at different places.
        if expected.end == End::Lost || expected == *actual {
            return;
        }
        if seen.insert(case.code.clone()) {
            let mut diff = differences(case, &expected, actual);
            if diff.is_empty() {
                diff.push(format!(
                    "flags {:x}, translated {:x}",
                    expected.state.rflags, actual.state.rflags
                ));
            }
            found.push(format!("{}\n    {}", line::print(case, &expected), diff.join("; ")));
        }
    });
    (tally, found)
}
