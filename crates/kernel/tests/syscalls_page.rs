//! `docs/syscalls.md` says what the rows of the system call table say; `BOXER_BLESS=1` (or `cargo xtask docs`) writes it
//! anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write;

use kernel::syscall::table::{self, Level, Row};

const HEAD: &str = "# System calls

Written by `cargo xtask docs` from the rows of `crates/kernel/src/syscall/table/`; a test fails when it is stale.

- **full**: as Linux does it. **partial**: with the restrictions of the note. **stub**: accepted without effect, for the reason in
  the note. **refused**: fails as the note says, else with `ENOSYS`.
- Numbers that are not listed fail with `ENOSYS`.

";

fn level(row: &Row) -> &'static str {
    match row.level {
        Level::Full => "full",
        Level::Partial => "partial",
        Level::Stub => "stub",
        Level::Refused => "refused",
    }
}

fn page() -> String {
    let mut rows: Vec<&Row> = table::all().collect();
    rows.sort_by_key(|row| row.nr);
    let mut out = String::from(HEAD);
    let count = |name: &str| rows.iter().filter(|row| level(row) == name).count();
    let levels =
        ["full", "partial", "stub", "refused"].map(|name| format!("{} {name}", count(name)));
    let _ = writeln!(out, "{} calls: {}.\n", rows.len(), levels.join(", "));
    out.push_str("| number | call | level | note |\n|---|---|---|---|\n");
    for row in rows {
        let args: Vec<&str> = row.args.iter().map(|(name, _)| *name).collect();
        let (nr, name, level) = (row.nr, row.name, level(row));
        let _ = writeln!(out, "| {nr} | `{name}({})` | {level} | {} |", args.join(", "), row.note);
    }
    out
}

#[test]
fn is_not_stale() {
    let path = "../../docs/syscalls.md";
    let page = page();
    if std::env::var_os("BOXER_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "docs/syscalls.md is stale: run `cargo xtask docs`");
}

#[test]
fn each_number_has_one_row() {
    let mut numbers: Vec<u64> = table::all().map(|row| row.nr).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    assert!(numbers.iter().all(|&nr| (nr as usize) < table::NUMBERS));
}

#[test]
fn what_is_less_than_full_says_why() {
    for row in table::all() {
        assert!(row.level == Level::Full || !row.note.is_empty(), "{}", row.name);
    }
}
