//! Flattens layers to an EROFS image and says how long each part takes.
//!
//! `cargo run --release -p boxer-layers --example flatten -- OUT.erofs LAYER...`
//!
//! With `--list`, prints the tree too: path, mode, owner, size, time, links, device, link target.
//! With `--layer FILE`, also writes the tree as one gzip layer.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use layers::{Flatten, LayerOptions, Limits, Spool, layer_from_tree};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let list = args.iter().position(|a| a == "--list").map(|i| args.remove(i)).is_some();
    let layer =
        args.iter().position(|a| a == "--layer").map(|i| (args.remove(i), args.remove(i)).1);
    let (image, layers) = args.split_first().ok_or("usage: OUT.erofs LAYER...")?;

    let start = Instant::now();
    let mut flatten = Flatten::new(Spool::new()?, Limits::default());
    for path in layers {
        let applied = flatten.layer(File::open(path)?, path, None)?;
        eprintln!("{path}: {} entries, diff_id {}", applied.entries, applied.diff_id);
    }
    let tree = flatten.finish();
    eprintln!("flatten {:.3} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let summary = tree.write_rootfs(File::create(image)?)?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("write {seconds:.3} s: {} inodes, {} bytes", summary.inodes, summary.bytes);

    if let Some(path) = layer {
        let start = Instant::now();
        let info = layer_from_tree(&tree, File::create(path)?, &LayerOptions::default())?;
        eprintln!(
            "layer {:.3} s: {} bytes, {}",
            start.elapsed().as_secs_f64(),
            info.size,
            info.digest
        );
    }
    if list {
        let mut out = BufWriter::new(std::io::stdout().lock());
        for (path, id) in tree.walk(tree.root()) {
            let node = tree.node(id);
            let (meta, size) = (&node.meta, node.content().map_or(0, |c| c.len()));
            let target = String::from_utf8_lossy(node.target().unwrap_or_default());
            writeln!(
                out,
                "{} {:?} {:o} {}:{} {size} {}.{:09} {} {} {target}",
                String::from_utf8_lossy(&path),
                node.kind(),
                meta.mode,
                meta.uid,
                meta.gid,
                meta.mtime,
                meta.mtime_nsec,
                node.links(),
                node.rdev(),
            )?;
        }
    }
    Ok(())
}
