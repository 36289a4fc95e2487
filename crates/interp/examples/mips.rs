//! Guest instructions a second: `mips ELF...`. Each ELF is static, without libc, and ends by `exit`.

#[path = "../tests/flat/mod.rs"]
mod flat;

use flat::{Flat, Prot, run};
use interp::{Engine, Exit};
use ir::Cpu;

fn main() -> std::io::Result<()> {
    let mut product = 1.0;
    let mut count = 0;
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path)?;
        let mut env = Flat::new();
        let entry = env.load_elf(&file);
        env.map(0x7000_0000, 1 << 20, Prot { write: true, exec: false });
        let mut cpu = Cpu::new();
        cpu.rip = entry;
        cpu.slot[4] = 0x7000_0000 + (1 << 20) - 64;
        let mut engine = Engine::new();
        let start = std::time::Instant::now();
        let (exit, out) = run(&mut engine, &mut cpu, &mut env, 1_000_000);
        let time = start.elapsed().as_secs_f64();
        let mips = engine.retired() as f64 / time / 1e6;
        let name = path.rsplit('/').next().unwrap_or("");
        let ok = exit == Exit::Syscall && cpu.slot[0] == 60;
        println!(
            "{name:12} {:8.1} M instructions {time:7.3} s {mips:7.1} MIPS  {} {}",
            engine.retired() as f64 / 1e6,
            String::from_utf8_lossy(&out).trim(),
            if ok { String::new() } else { format!("{exit:?} at {:#x}", cpu.rip) }
        );
        product += mips.ln() - if count == 0 { 1.0 } else { 0.0 };
        count += 1;
    }
    println!("geometric mean {:.1} MIPS", (product / f64::from(count.max(1))).exp());
    Ok(())
}
