//! The slow path of memory accesses: page crossings, demand paging, faults.

use crate::Env;
use ir::TrapKind;
use mem::{Access, Fault, PAGE_SIZE, Tables, Value};

/// How an op that needs the environment ended.
pub enum Rest {
    /// Done.
    Done,
    /// An access failed; nothing was changed but a string instruction's progress.
    Fault(Fault),
    /// A trap; nothing was changed.
    Trap(TrapKind),
    /// A string instruction that is not done: let others run, then execute it again.
    Again,
}

/// Values that can be taken apart into bytes.
pub trait Bytes: Value {
    /// From the low bytes of `v`.
    fn from_u128(v: u128) -> Self;
    /// Zero-extended.
    fn to_u128(self) -> u128;
}
macro_rules! bytes {
    ($($t:ty)*) => { $(impl Bytes for $t {
        #[inline(always)]
        fn from_u128(v: u128) -> Self { v as $t }
        #[inline(always)]
        fn to_u128(self) -> u128 { self as u128 }
    })* };
}
bytes!(u8 u16 u32 u64 u128);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Bytes for ir::sem::lanes::Whole {
    #[inline(always)]
    fn from_u128(v: u128) -> Self {
        ir::sem::lanes::whole(v)
    }
    #[inline(always)]
    fn to_u128(self) -> u128 {
        ir::sem::lanes::of_whole(self)
    }
}

/// Loads through the tables or, failing that, the slow path.
#[inline(always)]
pub fn load<T: Bytes, E: Env>(env: &mut E, tables: Tables, va: u64) -> Result<T, Fault> {
    match tables.load::<T>(va) {
        Some(value) => Ok(value),
        None => load_slow(env, tables, va, size_of::<T>()).map(T::from_u128),
    }
}

/// Stores through the tables or, failing that, the slow path.
#[inline(always)]
pub fn store<T: Bytes, E: Env>(
    env: &mut E,
    tables: Tables,
    va: u64,
    value: T,
) -> Result<(), Fault> {
    if tables.store::<T>(va, value) {
        return Ok(());
    }
    store_slow(env, tables, va, value.to_u128(), size_of::<T>())
}

fn in_page(va: u64) -> usize {
    PAGE_SIZE - va as usize % PAGE_SIZE
}

/// Loads `size` bytes (1 to 16) at any address.
#[cold]
#[inline(never)]
pub fn load_slow<E: Env>(env: &mut E, tables: Tables, va: u64, size: usize) -> Result<u128, Fault> {
    let first = size.min(in_page(va));
    let mut phys = env.translate(va, Access::Read)?;
    let mut value = 0;
    for i in 0..size {
        if i == first {
            phys = env.translate(va.wrapping_add(i as u64), Access::Read)?;
        }
        let at = if i < first { i } else { i - first };
        value |= u128::from(tables.load_phys::<u8>(phys + at as u32)) << (8 * i);
    }
    Ok(value)
}

/// Stores the low `size` bytes (1 to 16) of `value`; all or nothing.
#[cold]
#[inline(never)]
pub fn store_slow<E: Env>(
    env: &mut E,
    tables: Tables,
    va: u64,
    value: u128,
    size: usize,
) -> Result<(), Fault> {
    let first = size.min(in_page(va));
    let low = env.translate(va, Access::Write)?;
    let high = if first < size {
        env.translate(va.wrapping_add(first as u64), Access::Write)?
    } else {
        low
    };
    for i in 0..size {
        let at = if i < first { low + i as u32 } else { high + (i - first) as u32 };
        tables.store_phys::<u8>(at, (value >> (8 * i)) as u8);
    }
    Ok(())
}

/// Faults as a store of `size` bytes would, and stores nothing.
#[inline(never)]
pub fn probe<E: Env>(env: &mut E, va: u64, size: usize) -> Result<(), Fault> {
    env.translate(va, Access::Write)?;
    if in_page(va) < size {
        env.translate(va.wrapping_add(in_page(va) as u64), Access::Write)?;
    }
    Ok(())
}

/// As [`probe`], and free if the bytes are within one page: then the first store tells.
#[inline(always)]
pub fn probe_across<E: Env>(env: &mut E, va: u64, size: usize) -> Result<(), Fault> {
    if in_page(va) < size { probe(env, va, size) } else { Ok(()) }
}
