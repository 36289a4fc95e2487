//! The op table. Rows are split over files by family and joined by [`for_each_op!`].
//!
//! A row reads `Name "text" Class(function);`. `Name` is the variant of [`Op`], `"text"` its name in the text form,
//! `Class` the shape (see [`Class`]) and `function` the meaning (a path, with `ir::sem` in scope as `sem`), or `_` where
//! the class itself is the meaning.

mod integer;
mod memory;
mod system;
mod vector;
mod vector_float;
mod x87;

/// Calls `$cb! { rows }` with the rows of all tables.
#[macro_export]
macro_rules! for_each_op {
    ($cb:ident) => {
        $crate::ops_integer! { [ops_memory ops_vector ops_vector_float ops_x87 ops_system ops_end] $cb {} }
    };
}

/// End of the chain of row tables: hands the rows over.
#[doc(hidden)]
#[macro_export]
macro_rules! ops_end {
    ([] $cb:ident { $($rows:tt)* }) => { $cb! { $($rows)* } };
}

macro_rules! define_op {
    ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
        /// An operation. One variant for each row of the tables.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op { $($name),* }

        impl Op {
            /// All ops in table order; `ALL[i] as usize == i`.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];
            const TEXT: &'static [&'static str] = &[$($text),*];
            const CLASS: &'static [Class] = &[$(Class::$class),*];
        }
    };
}
for_each_op!(define_op);

impl Op {
    /// Name in the text form.
    pub fn text(self) -> &'static str {
        Op::TEXT[self as usize]
    }
    /// The op's shape.
    #[inline]
    pub fn class(self) -> Class {
        Op::CLASS[self as usize]
    }
    /// The op with that name in the text form.
    pub fn from_text(text: &str) -> Option<Op> {
        Op::TEXT.iter().position(|t| *t == text).map(|i| Op::ALL[i])
    }
}

/// What one field of an [`crate::Inst`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Integer slot written, in field `d`.
    D,
    /// Integer slots written: `d` (a temporary) and `d + 1`.
    D2,
    /// Integer slot read, in field `d` (the datum of a store).
    Ds,
    /// Integer slot read, in field `a`.
    A,
    /// Integer slot read, in field `b`.
    B,
    /// Integer slot read or `imm`, in field `b`.
    Bi,
    /// Integer slot read, in field `c`.
    C,
    /// Integer slot read or `imm`, in field `c`.
    Ci,
    /// The immediate.
    Imm,
    /// Condition code in field `c`.
    Cc,
    /// A small number in field `c`.
    N,
    /// Memory operand: `a`, `b`, `c` (shift 0..=3) and `imm`.
    Mem,
    /// Vector slot written, in field `d`.
    Vd,
    /// Vector slot read, in field `d` (the datum of a store).
    Vs,
    /// Vector slot read, in field `a`.
    Va,
    /// Vector slot read, in field `b`.
    Vb,
    /// Vector slot read, in field `c`.
    Vc,
    /// 256-bit vector written: slots `d` and `d + 16` (see [`crate::HIGH`]).
    Yd,
    /// 256-bit vector read: slots `a` and `a + 16`.
    Ya,
    /// 256-bit vector read: slots `b` and `b + 16`.
    Yb,
    /// 256-bit vector read: slots `c` and `c + 16`.
    Yc,
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident [$($op:ident)*] $pure:literal;)*) => {
        /// Shape of an op: its operands and the type of its function. `m` is `&mut u32`, the MXCSR, whose sticky bits the
        /// function sets; an unmasked new exception becomes #XM and nothing is written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Class { $($(#[$doc])* $name),* }
        impl Class {
            /// The operands in the order of the text form.
            pub fn operands(self) -> &'static [Operand] {
                match self { $(Class::$name => &[$(Operand::$op),*]),* }
            }
            /// True if the op only computes its `d` from its other operands (it may go if `d` is dead).
            #[inline]
            pub fn is_pure(self) -> bool {
                match self { $(Class::$name => $pure),* }
            }
        }
    };
}
classes! {
    /// `d = f(a)`; `fn(u64) -> u64`
    R1 [D A] true;
    /// `d = f(a, b|imm)`; `fn(u64, u64) -> u64`
    R2 [D A Bi] true;
    /// `d = f(a, b, c|imm)`; `fn(u64, u64, u64) -> u64`
    R3 [D A B Ci] true;
    /// `(d, d+1) = f(a, b, c)`, `None` is #DE; `fn(u64, u64, u64) -> Option<(u64, u64)>`
    Div [D2 A B C] false;
    /// `d = imm`
    Li [D Imm] true;
    /// `d = f(address)`; `fn(u64) -> u64`
    Lea [D Mem] true;
    /// `d = f(memory)`; `(type of the datum, fn(that type) -> u64)`
    Load [D Mem] false;
    /// `memory = d as type`; `(type of the datum)`
    Store [Ds Mem] false;
    /// Vector load: `vd = memory`, zero-extended; `(type of the datum)`
    VLoad [Vd Mem] false;
    /// As [`Class::VLoad`] with 16 bytes; #GP if the address is not a multiple of 16.
    VLoadA [Vd Mem] false;
    /// Vector store of the low bytes of `d`; `(type of the datum)`
    VStore [Vs Mem] false;
    /// As [`Class::VStore`] with 16 bytes; #GP if the address is not a multiple of 16.
    VStoreA [Vs Mem] false;
    /// Vector store of 32 bytes, all or nothing, from `d` and `d + HIGH`; `_`
    VStore2 [Vs Mem] false;
    /// #GP if the address is not a multiple of so many bytes; `(number)`
    Align [Mem] false;
    /// Vector load of the lanes of `d` whose top bit is set in `d + HIGH`, the others are zero; `(type of a lane)`
    MaskLoad [Vd Mem] false;
    /// Vector store of the lanes of `d` whose top bit is set in `d + HIGH`, all or nothing; `(type of a lane)`
    MaskStore [Vs Mem] false;
    /// Faults as a [`Class::MaskStore`] would, and stores nothing; `(type of a lane)`
    MaskProbe [Vs Mem] false;
    /// Loads each lane of `d` from an address of its own; for the fields see [`crate::ops::Gather`]; `_`
    Gather [Vd A B Vc Imm] false;
    /// XSAVE or XRSTOR of the components in edx:eax (SDM vol. 1, 13.7 and 13.8); `_`
    Xstate [Mem] false;
    /// Checks that the memory operand may be written (`c`-scaled as ever) for `imm`-less byte count `d`: faults as a store would.
    Probe [Mem] false;
    /// Records flags of `a` and `b|imm`; `(FlagKind)`
    Flag [A Bi] false;
    /// Records flags of `a`, `b|imm` and the carry in `c` (0 or 1); `(FlagKind)`
    Flag3 [A Bi C] false;
    /// `flags.shl/shr/sar`: records flags of `a` shifted by `b|imm`; unchanged if the masked count is 0; `(FlagKind)`
    FlagShift [A Bi] false;
    /// `flags.inc/dec`: as [`Class::Flag`] but CF is kept; `(FlagKind)`
    FlagInc [A] false;
    /// `d = condition c`
    GetCc [D Cc] true;
    /// `d = condition c ? a : b`
    SelCc [D A B Cc] true;
    /// `d` = the arithmetic bits of RFLAGS
    GetFlags [D] true;
    /// RFLAGS bits of `a` selected by `b|imm` (a mask of arithmetic bits) replace the current ones
    PutFlags [A Bi] false;
    /// `d` = all of RFLAGS as `pushf` stores it
    GetRflags [D] true;
    /// User-writable bits of RFLAGS from `a`, those selected by `imm`
    PutRflags [A Imm] false;
    /// DF = imm
    SetDf [Imm] false;
    /// String instruction: element size `1 << c`, source segment base `a`, `imm` = [`crate::ops::StringOp`] bits
    Str [A N Imm] false;
    /// Asks the environment: cpuid (rax, rcx → rax, rbx, rcx, rdx)
    Cpuid [] false;
    /// `d` = time-stamp counter
    Rdtsc [D] false;
    /// `d` = 64 random bits
    Rdrand [D] false;
    /// `vd = f(va)`; `fn(u128) -> u128`
    V1 [Vd Va] false;
    /// `vd = f(va, vb)`; `fn(u128, u128) -> u128`
    V2 [Vd Va Vb] false;
    /// `vd = f(va, vb, vc)`; `fn(u128, u128, u128) -> u128`
    V3 [Vd Va Vb Vc] false;
    /// `vd = f(va, imm)`; `fn(u128, u8) -> u128`
    V1i [Vd Va Imm] false;
    /// `vd = f(va, vb, imm)`; `fn(u128, u128, u8) -> u128`
    V2i [Vd Va Vb Imm] false;
    /// `vd = f(m, va)`; `fn(&mut u32, u128) -> u128`
    F1 [Vd Va] false;
    /// `vd = f(m, va, vb)`; `fn(&mut u32, u128, u128) -> u128`
    F2 [Vd Va Vb] false;
    /// `vd = f(m, va, vb, vc)`; `fn(&mut u32, u128, u128, u128) -> u128`
    F3 [Vd Va Vb Vc] false;
    /// `vd = f(m, va, imm)`; `fn(&mut u32, u128, u8) -> u128`
    F1i [Vd Va Imm] false;
    /// `vd = f(m, va, vb, imm)`; `fn(&mut u32, u128, u128, u8) -> u128`
    F2i [Vd Va Vb Imm] false;
    /// [`Class::F1`] on both halves of 256 bits: an unmasked exception in one half leaves both unwritten.
    Y1 [Yd Ya] false;
    /// [`Class::F2`] on both halves, as [`Class::Y1`].
    Y2 [Yd Ya Yb] false;
    /// [`Class::F3`] on both halves, as [`Class::Y1`].
    Y3 [Yd Ya Yb Yc] false;
    /// [`Class::F1i`] on both halves, as [`Class::Y1`].
    Y1i [Yd Ya Imm] false;
    /// [`Class::F2i`] on both halves, as [`Class::Y1`].
    Y2i [Yd Ya Yb Imm] false;
    /// `yd = f(m, ya, yb, imm)`, each as its low and its high half; `fn(&mut u32, [u128; 2], [u128; 2], u8) -> [u128; 2]`
    Yy2i [Yd Ya Yb Imm] false;
    /// Widening: `yd = (f(m, va), f(m, va >> 64))`, as [`Class::Y1`]; `fn(&mut u32, u128) -> u128` of the low 64 bits
    Yw1 [Yd Va] false;
    /// Narrowing: `vd = (f(m, low half of ya), f(m, high half of ya) << 64)`; `fn(&mut u32, u128) -> u128` to the low 64 bits
    Yn1 [Vd Ya] false;
    /// As [`Class::Yn1`]; `fn(&mut u32, u128, u8) -> u128`
    Yn1i [Vd Ya Imm] false;
    /// `d = f(va)`; `fn(u128) -> u64`
    Rv1 [D Va] false;
    /// `d = f(va, vb)`; `fn(u128, u128) -> u64`
    Rv2 [D Va Vb] false;
    /// `d = f(va, imm)`; `fn(u128, u8) -> u64`
    Rv1i [D Va Imm] false;
    /// `d = f(va, vb, imm)`; `fn(u128, u128, u8) -> u64`
    Rv2i [D Va Vb Imm] false;
    /// `d = f(m, va)`; `fn(&mut u32, u128) -> u64`
    Rf1 [D Va] false;
    /// `d = f(m, va, vb)`; `fn(&mut u32, u128, u128) -> u64`
    Rf2 [D Va Vb] false;
    /// `vd = f(a)`; `fn(u64) -> u128`
    Vr1 [Vd A] false;
    /// `vd = f(va, b)`; `fn(u128, u64) -> u128`
    Vvr [Vd Va B] false;
    /// `vd = f(va, b, imm)`; `fn(u128, u64, u8) -> u128`
    Vvri [Vd Va B Imm] false;
    /// `vd = f(m, va, b)`; `fn(&mut u32, u128, u64) -> u128`
    Fvr [Vd Va B] false;
    /// Anything else without memory: fields mean what the function says; `fn(&mut Cpu, &Inst) -> Result<(), TrapKind>`.
    /// On an error nothing is changed.
    State [D A B N Imm] false;
}

impl Class {
    /// Whether an op of this class can fault or trap, so that a signal handler may see the state before it.
    pub fn may_fault(self) -> bool {
        use Class::*;
        matches!(
            self,
            Load | Store
                | VLoad
                | VLoadA
                | VStore
                | VStoreA
                | VStore2
                | Align
                | MaskLoad
                | MaskStore
                | MaskProbe
                | Gather
                | Xstate
                | Probe
                | Str
                | Div
                | State
                | F1
                | F2
                | F3
                | F1i
                | F2i
                | Y1
                | Y2
                | Y3
                | Y1i
                | Y2i
                | Yy2i
                | Yw1
                | Yn1
                | Yn1i
                | Rf1
                | Rf2
                | Fvr
        )
    }

    /// Whether an op of this class writes memory ([`Class::Str`]: if it is movs or stos).
    pub fn stores(self) -> bool {
        use Class::*;
        matches!(self, Store | VStore | VStoreA | VStore2 | MaskStore | Xstate)
    }
}

/// The fields of a [`Class::Gather`] op: `a` + `b` is the base address (`b` the segment's), `c` the vector of indices
/// (signed; the pair of slots for 256 bits), and `imm` has these parts. Lanes are loaded in order; each clears its lane of
/// the mask, so that a fault leaves what was done and the rest of the mask. In the end all of the mask is zero.
pub struct Gather;
impl Gather {
    /// Index shifted left by 0..=3.
    pub const SCALE: i64 = 3;
    /// 64-bit indices (else 32).
    pub const WIDE_INDEX: i64 = 4;
    /// 64-bit lanes (else 32).
    pub const WIDE_LANE: i64 = 8;
    /// Addresses wrap at 4 GiB before the segment's base is added.
    pub const ADDR32: i64 = 16;
    /// Position of the slot of the mask (of the pair `slot`, `slot + HIGH`).
    pub const MASK_SHIFT: u32 = 8;
    /// Position of the number of lanes.
    pub const LANES_SHIFT: u32 = 16;
}

/// Bits of `imm` of a [`Class::Str`] op.
pub struct StringOp;
impl StringOp {
    /// Repeat while rcx ≠ 0 (and for cmps/scas: while equal).
    pub const REP: i64 = 1;
    /// Repeat while rcx ≠ 0 and not equal (cmps/scas).
    pub const REPNE: i64 = 2;
    /// 32-bit addresses and counter.
    pub const ADDR32: i64 = 4;
    /// Of a repetition one round.
    pub const ONCE: i64 = 8;
}
