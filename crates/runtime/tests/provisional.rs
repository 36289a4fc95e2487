//! Links and runs with whatever guest is built in.
use link::{LinkInput, Linker, Output as Form};
use rootfs::config::BoxConfig;
use runtime::{Input, Output, RunOptions, Runtime, StepInput};

#[test]
fn link_and_run() {
    let dir = tempfile::tempdir().unwrap();
    let cache = std::path::PathBuf::from("/tmp/w/cache");
    let rt = Runtime::with_cache_dir(&cache).unwrap();
    let guest = link::guest_wasm().unwrap();
    let size: usize =
        std::env::var("IMAGE_MB").ok().and_then(|s| s.parse().ok()).unwrap_or(1) << 20;
    let image: Vec<u8> =
        (0..size).map(|i| if (i / 50) % 2 == 0 { (i * 7 / 3) as u8 } else { 0 }).collect();
    let config = BoxConfig { cmd: vec!["x".into()], ..Default::default() };
    let linker = Linker::new(guest, rt.cache().clone());
    for form in [Form::Module, Form::Component] {
        let path = dir.path().join(format!("{form:?}.wasm"));
        let t = std::time::Instant::now();
        let mut file = std::fs::File::create(&path).unwrap();
        let input = LinkInput {
            image: &mut &image[..],
            image_len: image.len() as u64,
            config: &config,
            image_config_json: Some(b"{}"),
            output: form,
        };
        linker.link(input, &mut file).unwrap();
        eprintln!(
            "{form:?} link {:?} {} bytes",
            t.elapsed(),
            std::fs::metadata(&path).unwrap().len()
        );
        let t = std::time::Instant::now();
        rt.prepare_file(&path).unwrap();
        eprintln!("prepare {:?}", t.elapsed());
        std::thread::sleep(std::time::Duration::from_secs(2));
        for _ in 0..3 {
            let t = std::time::Instant::now();
            let out = rt
                .run_file(
                    &path,
                    RunOptions {
                        args: vec!["a".into()],
                        stdin: Input::Empty,
                        stdout: Output::Capture,
                        ..Default::default()
                    },
                )
                .unwrap();
            eprintln!(
                "run {:?} {} {}",
                t.elapsed(),
                out.status,
                String::from_utf8_lossy(&out.stdout)
            );
        }
        let i = link::inspect(&mut std::fs::File::open(&path).unwrap()).unwrap();
        eprintln!("{i:?}");
    }
    let t = std::time::Instant::now();
    let step = StepInput {
        guest,
        image: &mut &image[..],
        image_len: image.len() as u64,
        config: &config,
        layer_dir: Some(dir.path()),
    };
    let out =
        rt.run_step(step, RunOptions { stdout: Output::Capture, ..Default::default() }).unwrap();
    eprintln!("step {:?} {}", t.elapsed(), out.status);
}
