//! What CPUID promises is there, and has fixtures.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use iced_x86::{Code, Mnemonic};
use std::collections::BTreeSet;
use testkit::cpu::generate::{all, incomparable};
use testkit::cpu::{line, promised};

/// Mnemonics that CPUID promises to a 64-bit program, in the decoder's order.
fn promised_mnemonics() -> BTreeSet<u32> {
    let codes = Code::values().filter(|code| {
        let info = code.op_code();
        // A 64-bit program can execute it; not the decoder's pseudo-instructions, nor two instructions that assemblers
        // write as one (FCLEX is WAIT and FNCLEX).
        let here = info.is_instruction() && info.mode64() && !info.fwait();
        // All of them are #GP there: the bit promises nothing to a program.
        let kernel = info.must_be_cpl0() || info.is_input_output() || info.is_privileged();
        here && !kernel && promised::has(*code)
    });
    codes.map(|code| code.mnemonic() as u32).collect()
}

fn name(mnemonic: Mnemonic) -> String {
    format!("{mnemonic:?}").to_lowercase()
}

fn all_mnemonics() -> impl Iterator<Item = Mnemonic> {
    let promised = promised_mnemonics();
    Mnemonic::values().filter(move |m| promised.contains(&(*m as u32)))
}

#[test]
fn every_promised_mnemonic_is_lifted() {
    let lifted: BTreeSet<String> = x86::supported_mnemonics().into_iter().collect();
    // Undefined by name: #UD is what they are for.
    let undefined = [Mnemonic::Ud0, Mnemonic::Ud1, Mnemonic::Ud2];
    let missing: Vec<String> = all_mnemonics()
        .filter(|m| !undefined.contains(m))
        .map(name)
        .filter(|n| !lifted.contains(n))
        .collect();
    assert!(missing.is_empty(), "{} not lifted: {}", missing.len(), missing.join(" "));
}

#[test]
fn every_promised_mnemonic_has_a_fixture() {
    let dir = std::env::current_dir().unwrap().join("../../fixtures/x86");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "ins") {
            continue;
        }
        for text in std::fs::read_to_string(&path).unwrap().lines() {
            if !text.is_empty() && !text.starts_with('#') {
                let (case, _) = line::parse(text).unwrap();
                found.extend(all(&case.code).iter().map(|ins| ins.mnemonic() as u32));
            }
        }
    }
    let missing: Vec<String> = all_mnemonics()
        .filter(|m| !found.contains(&(*m as u32)) && incomparable(*m).is_none())
        .map(name)
        .collect();
    assert!(missing.is_empty(), "{} without a fixture: {}", missing.len(), missing.join(" "));
}
