//! Segments and other checks of protected mode, with the descriptors that a 64-bit Linux process can use
//! (`arch/x86/include/asm/segment.h`). Fields of the [`Inst`] are said at each function.

use crate::flags::ZF;
use crate::{Cpu, FS_BASE, GS_BASE, Inst, TrapKind};

type Done = Result<(), TrapKind>;

/// Selector of the 64-bit code segment.
pub const USER_CS: u16 = 0x33;
/// Selector of the data segment, the only one that SS may have.
pub const USER_SS: u16 = 0x2b;
/// Index of SS, FS, GS in [`Cpu::selectors`].
const SS: usize = 2;
const FS: usize = 4;
const GS: usize = 5;
/// Requested privilege level and table indicator of a selector.
const RPL: u16 = 3;
const TI: u16 = 4;

/// What programs may know of a descriptor.
struct Descriptor {
    /// Bits 23:8 of its second doubleword, as LAR gives them.
    rights: u32,
    /// Its last offset in bytes.
    limit: u32,
}

impl Descriptor {
    fn is_code(&self) -> bool {
        self.rights & 0x800 != 0
    }
    fn is_writable(&self) -> bool {
        !self.is_code() && self.rights & 0x200 != 0
    }
}

/// The descriptor that `selector` names if programs may use it; the others of the table are the kernel's, and there is
/// no local table.
fn descriptor(selector: u16) -> Option<Descriptor> {
    let (rights, limit) = match selector & !RPL {
        // 32-bit code, data, 64-bit code.
        0x20 => (0xcf_fb00, u32::MAX),
        0x28 => (0xcf_f300, u32::MAX),
        0x30 => (0xaf_fb00, u32::MAX),
        // The limit is the number of the processor (getcpu).
        0x78 => (0x40_f500, 0),
        _ => return None,
    };
    Some(Descriptor { rights, limit })
}

fn slot(cpu: &Cpu, i: u8) -> u64 {
    cpu.slot[usize::from(i)]
}

/// #GP with the selector as error code.
fn refuse(cpu: &mut Cpu, selector: u16) -> Done {
    cpu.error = selector & !RPL;
    Err(TrapKind::Gp)
}

/// #GP unless `a` is a canonical address.
pub fn canonical(cpu: &mut Cpu, i: &Inst) -> Done {
    let va = slot(cpu, i.a) as i64;
    if va >> 47 == va >> 63 { Ok(()) } else { Err(TrapKind::Gp) }
}

/// `d` = selector number imm.
pub fn selector(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = cpu.selectors.get(i.imm as usize).copied().unwrap_or(0);
    cpu.slot[usize::from(i.d)] = value.into();
    Ok(())
}

/// Loads segment register number imm with the selector in the low bits of `a`. A new FS or GS has base 0, also a null
/// one (Intel's processors do so, and AMD's that have NullSelectorClearsBase).
pub fn segment(cpu: &mut Cpu, i: &Inst) -> Done {
    let (register, value) = (i.imm as usize, slot(cpu, i.a) as u16);
    if register == SS {
        return stack_segment(cpu, i);
    }
    if value & !RPL != 0 && descriptor(value).is_none() {
        return refuse(cpu, value);
    }
    if let Some(selector) = cpu.selectors.get_mut(register) {
        *selector = value;
    }
    match register {
        FS => cpu.slot[usize::from(FS_BASE)] = 0,
        GS => cpu.slot[usize::from(GS_BASE)] = 0,
        _ => {}
    }
    Ok(())
}

/// #GP unless the low bits of `a` may be loaded into SS: it must be writable, and not null in user mode.
pub fn stack_segment(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = slot(cpu, i.a) as u16;
    let fits = value & RPL == RPL && descriptor(value).is_some_and(|d| d.is_writable());
    if fits { Ok(()) } else { refuse(cpu, value) }
}

/// #GP unless a far transfer may load the low bits of `a` into CS. imm = 1: a return, whose selector must have the
/// privilege level. Compatibility mode does not exist: the 32-bit code segment is refused as if it were not there.
pub fn code_segment(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = slot(cpu, i.a) as u16;
    let level = i.imm == 0 || value & RPL == RPL;
    if value & !RPL == USER_CS & !RPL && level { Ok(()) } else { refuse(cpu, value) }
}

/// #GP if NT is set (IRET in 64-bit mode).
pub fn not_nested(cpu: &mut Cpu, _: &Inst) -> Done {
    if cpu.other_flags & 1 << 14 == 0 { Ok(()) } else { Err(TrapKind::Gp) }
}

/// LAR, LSL, VERR, VERW of the selector in the low bits of `a`, by imm (0 to 3): sets ZF if it may be used; then the first
/// two write the low `c` bytes of `d` (a doubleword clears the upper half).
pub fn rights(cpu: &mut Cpu, i: &Inst) -> Done {
    let value = slot(cpu, i.a) as u16;
    let found = if value & TI == 0 { descriptor(value) } else { None };
    let ok = found.as_ref().is_some_and(|d| i.imm != 3 || d.is_writable());
    cpu.flags.put(if ok { ZF } else { 0 }, ZF);
    if let (Some(d), true, 0 | 1) = (found, ok, i.imm) {
        let result = u64::from(if i.imm == 0 { d.rights } else { d.limit });
        let to = &mut cpu.slot[usize::from(i.d)];
        *to = if i.c == 2 { *to & !0xffff | result & 0xffff } else { result };
    }
    Ok(())
}
