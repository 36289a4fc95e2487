//! Boxer's chores, run as `cargo xtask NAME`.

mod guest;
mod paths;
mod process;

fn main() {
    let result = paths::Workspace::find().and_then(|workspace| guest::run(&workspace));
    if let Err(error) = result {
        eprintln!("xtask: {error:#}");
        std::process::exit(1);
    }
}
