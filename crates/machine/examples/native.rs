//! Runs a program from an EROFS image natively, for debugging:
//! `native IMAGE [--strace] [--debug] [--v3] [--network] [--publish=PORT]… PROGRAM [ARG…]`. It has no host directories and
//! its standard streams block.

mod network;

use kernel::Host;
use machine::{Machine, StartArgs, Step};
use mem::Phys;
use rootfs::config::{BoxConfig, CpuLevel};
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Native {
    start: Instant,
    seed: u64,
    network: Option<network::Network>,
}

/// Where the monotonic clock starts: programs take 0 for a time that was not set.
const UP: Duration = Duration::from_secs(100);
/// How long a box that waits for the network sleeps at a time.
const LOOK: Duration = Duration::from_millis(1);

impl Host for Native {
    fn clock_realtime(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
    }
    fn clock_monotonic(&self) -> u64 {
        (UP + self.start.elapsed()).as_nanos() as u64
    }
    fn random(&mut self, buf: &mut [u8]) {
        for byte in buf {
            self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            *byte = (self.seed >> 56) as u8;
        }
    }
    fn network(&mut self) -> Option<&mut dyn net::Outside> {
        self.network.as_mut().map(|network| network as &mut dyn net::Outside)
    }
    fn stdin_read(&mut self, buf: &mut [u8]) -> Result<usize, abi::Errno> {
        std::io::stdin().read(buf).map_err(|_| abi::Errno::EIO)
    }
    fn stdin_ready(&mut self) -> bool {
        true
    }
    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, abi::Errno> {
        let mut out = std::io::stdout();
        out.write(buf).and_then(|n| out.flush().map(|()| n)).map_err(|_| abi::Errno::EIO)
    }
    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, abi::Errno> {
        std::io::stderr().write(buf).map_err(|_| abi::Errno::EIO)
    }
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut flag = |name: &str| {
        let at = words.iter().take_while(|w| w.starts_with("--") || w.ends_with(".erofs"));
        let at = at.collect::<Vec<_>>().iter().position(|w| *w == name);
        at.map(|i| words.remove(i)).is_some()
    };
    let (strace, debug, v3) = (flag("--strace"), flag("--debug"), flag("--v3"));
    let wants_network = flag("--network");
    let mut ports = Vec::new();
    words.retain(|word| match word.strip_prefix("--publish=").map(str::parse) {
        Some(Ok(port)) => {
            ports.push(port);
            false
        }
        _ => true,
    });
    let mut outside = None;
    if wants_network || !ports.is_empty() {
        match network::Network::new(&ports) {
            Ok(network) => outside = Some(network),
            Err(error) => {
                eprintln!("native: {error}");
                std::process::exit(1);
            }
        }
    }
    if words.len() < 2 {
        eprintln!("usage: native IMAGE [--strace] [--debug] [--v3] PROGRAM [ARG...]");
        std::process::exit(2);
    }
    let image: &'static [u8] = match std::fs::read(words.remove(0)) {
        Ok(bytes) => bytes.leak(),
        Err(error) => {
            eprintln!("native: {error}");
            std::process::exit(1);
        }
    };
    let mut phys = Phys::new(3 << 30);
    let Some(base) = phys.adopt_static(image) else {
        eprintln!("native: the image is too large");
        std::process::exit(1);
    };
    let config = BoxConfig {
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            "HOME=/root".into(),
        ],
        hostname: "box".into(),
        ..BoxConfig::default()
    };
    let host = Native { start: Instant::now(), seed: 1, network: outside };
    let mut machine = match Machine::boot(phys, Box::new(host), image, base, config) {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("native: {error}");
            std::process::exit(1);
        }
    };
    let args = StartArgs {
        args: words,
        strace,
        debug,
        cpu: v3.then_some(CpuLevel::V3),
        ..StartArgs::default()
    };
    if let Err(error) = machine.start(args) {
        eprintln!("native: {error}");
        std::process::exit(error.status());
    }
    loop {
        match machine.step(100_000_000) {
            Step::Ready => {}
            Step::Wait { deadline, network: true, .. } => {
                let now = machine.kernel().now();
                let left = deadline.map_or(u64::MAX, |d| d.saturating_sub(now));
                std::thread::sleep(Duration::from_nanos(left).min(LOOK));
            }
            Step::Wait { deadline: Some(deadline), .. } => {
                let now = machine.kernel().now();
                std::thread::sleep(Duration::from_nanos(deadline.saturating_sub(now)));
            }
            Step::Wait { deadline: None, stdin: true, .. } => {}
            Step::Wait { deadline: None, stdin: false, .. } => {
                eprintln!("native: deadlock");
                std::process::exit(125);
            }
            Step::Exit(status) => std::process::exit(status),
            Step::Stopped => unreachable!("nobody has asked for that"),
        }
    }
}
