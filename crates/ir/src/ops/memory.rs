//! Rows: addresses, loads, stores, string instructions.

/// Memory rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_memory {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
        Lea "lea" Lea(sem::int::mov);
        Lea32 "lea32" Lea(sem::int::zx32);
        Load8 "load8" Load(u8, sem::int::from_u8);
        Load16 "load16" Load(u16, sem::int::from_u16);
        Load32 "load32" Load(u32, sem::int::from_u32);
        Load64 "load64" Load(u64, sem::int::mov);
        SLoad8 "sload8" Load(u8, sem::int::from_i8);
        SLoad16 "sload16" Load(u16, sem::int::from_i16);
        SLoad32 "sload32" Load(u32, sem::int::from_i32);
        SLoad8w32 "sload8w32" Load(u8, sem::int::from_i8w32);
        SLoad16w32 "sload16w32" Load(u16, sem::int::from_i16w32);
        Store8 "store8" Store(u8);
        Store16 "store16" Store(u16);
        Store32 "store32" Store(u32);
        Store64 "store64" Store(u64);
        VLoad8 "vload8" VLoad(u8);
        VLoad16 "vload16" VLoad(u16);
        VLoad32 "vload32" VLoad(u32);
        VLoad64 "vload64" VLoad(u64);
        VLoad128 "vload128" VLoad(u128);
        VLoadA128 "vloada128" VLoadA(u128);
        VStore32 "vstore32" VStore(u32);
        VStore64 "vstore64" VStore(u64);
        VStore128 "vstore128" VStore(u128);
        VStoreA128 "vstorea128" VStoreA(u128);
        // Faults as a store of 8, 16 bytes would, writes nothing.
        Probe16 "probe16" Probe(u16);
        Probe64 "probe64" Probe(u64);
        Probe128 "probe128" Probe(u128);
        VStore256 "vstore256" VStore2(_);
        Align32 "align32" Align(32);
        MaskLoad32 "maskload32" MaskLoad(u32);
        MaskLoad64 "maskload64" MaskLoad(u64);
        MaskStore32 "maskstore32" MaskStore(u32);
        MaskStore64 "maskstore64" MaskStore(u64);
        MaskProbe32 "maskprobe32" MaskProbe(u32);
        MaskProbe64 "maskprobe64" MaskProbe(u64);
        Gather "gather" Gather(_);
        Xsave "xsave" Xstate(_);
        Xrstor "xrstor" Xstate(_);
        Movs "movs" Str(_);
        Stos "stos" Str(_);
        Lods "lods" Str(_);
        Cmps "cmps" Str(_);
        Scas "scas" Str(_);
    } } };
}
