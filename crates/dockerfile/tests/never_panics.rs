//! Nothing a Dockerfile or an ignore file says makes the parser panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pieces;

use dockerfile::Dockerfile;
use dockerfile::ignore::IgnoreFile;
use dockerfile::plan::{Options, Plan};
use pieces::PIECES;
use proptest::prelude::*;

/// Text made of the pieces that mean something, so that the cases get past the first word.
fn dockerish() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(PIECES);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn on_dockerish_text(text in dockerish()) {
        if let Ok(file) = Dockerfile::parse(&text)
            && let Ok(plan) = Plan::new(&file, &Options::default())
        {
            for stage in &plan.stages {
                let mut scope = dockerfile::scope::Scope::new(plan.escape);
                for instruction in &stage.instructions {
                    let _ = scope.apply(&instruction.kind, &plan.globals);
                }
            }
        }
        let _ = dockerfile::expand::word(&text, &|_: &str| Some("va/lue"), '\\');
        if let Ok(file) = IgnoreFile::parse(&text) {
            file.ignores("a/b/c");
            file.may_hold_exceptions("a");
        }
    }

    #[test]
    fn on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Dockerfile::parse_bytes(&bytes);
    }
}
