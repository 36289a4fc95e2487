//! The box's own program: the machine on top of WASI preview 1 alone.

mod exports;

fn main() {
    exports::with_boxed(|image, config| {
        println!("image {} bytes at {:p}, config {config:?}", image.len(), image.as_ptr());
        println!("args {:?}", std::env::args().collect::<Vec<_>>());
        println!("first {:?}", &image[..image.len().min(16)]);
        std::process::exit(7);
    });
}
