//! Templates of VEX-encoded instructions, from the decoder's table, and their encoding (SDM vol. 2, 2.3).
//!
//! A small share of the encodings is deliberately wrong (VEX.vvvv not 1111b where it must be, another L or W, a prefix
//! that VEX forbids), so that #UD is compared too.

use super::promised;
use super::random::Rng;
use super::templates::Template;
use iced_x86::{
    Code, CpuidFeature, EncodingKind, MandatoryPrefix, OpCodeOperandKind, OpCodeTableKind,
};

/// What a VEX prefix says beside the opcode.
#[derive(Clone, Debug)]
pub struct Vex {
    /// Opcode map: 1 is 0F, 2 is 0F38, 3 is 0F3A.
    map: u8,
    /// Implied prefix: 0 none, 1 is 66, 2 is F3, 3 is F2.
    implied: u8,
    /// VEX.L; `None` if ignored.
    long: Option<bool>,
    /// VEX.W; `None` if ignored.
    wide: Option<bool>,
    /// VEX.vvvv names an operand.
    vvvv: bool,
    /// The index register is a vector.
    vsib: bool,
}

/// A template for each VEX-encoded instruction that the processor model has.
pub fn templates() -> Vec<Template> {
    Code::values().filter(|c| promised::has(*c)).filter_map(template).collect()
}

/// Name of the family of an instruction.
fn family(code: Code) -> &'static str {
    let features = code.cpuid_features();
    let names = [
        (CpuidFeature::FMA, "fma"),
        (CpuidFeature::F16C, "f16c"),
        (CpuidFeature::BMI1, "bmi"),
        (CpuidFeature::BMI2, "bmi"),
        (CpuidFeature::AVX2, "avx2"),
    ];
    names.iter().find(|n| features.contains(&n.0)).map_or("avx", |n| n.1)
}

fn template(code: Code) -> Option<Template> {
    use OpCodeOperandKind as K;
    let info = code.op_code();
    if info.encoding() != EncodingKind::VEX || !info.mode64() {
        return None;
    }
    let kinds = info.op_kinds();
    let any = |list: &[K]| kinds.iter().any(|k| list.contains(k));
    let vsib = any(&[K::mem_vsib32x, K::mem_vsib32y, K::mem_vsib64x, K::mem_vsib64y]);
    let vex = Vex {
        map: match info.table() {
            OpCodeTableKind::T0F => 1,
            OpCodeTableKind::T0F38 => 2,
            OpCodeTableKind::T0F3A => 3,
            _ => return None,
        },
        implied: match info.mandatory_prefix() {
            MandatoryPrefix::P66 => 1,
            MandatoryPrefix::PF3 => 2,
            MandatoryPrefix::PF2 => 3,
            _ => 0,
        },
        long: (!info.is_lig()).then_some(info.l() == 1),
        wide: (!info.is_wig()).then_some(info.w() == 1),
        vvvv: any(&[K::xmm_vvvv, K::ymm_vvvv, K::r32_vvvv, K::r64_vvvv]),
        vsib,
    };
    let register = [K::xmm_rm, K::ymm_rm, K::r32_rm, K::r64_rm];
    let either = [K::xmm_or_mem, K::ymm_or_mem, K::r32_or_mem, K::r64_or_mem];
    let modrm = (any(&register) || any(&either) || any(&[K::mem]) || vsib)
        .then(|| info.is_group().then_some(info.group_index() as u8));
    let opcode = info.op_code() as u8;
    Some(Template {
        family: family(code),
        opcode: vec![opcode],
        last: opcode,
        modrm,
        imm: any(&[K::imm8, K::xmm_is4, K::ymm_is4]).into(),
        memory_only: vsib || any(&[K::mem]),
        register_only: any(&register),
        vex: Some(vex),
        ..Template::default()
    })
}

/// A random instance of `t`.
pub fn encode(rng: &mut Rng, t: &Template, vex: &Vex) -> Vec<u8> {
    let mut code = Vec::new();
    if rng.one_in(32) {
        code.push(rng.pick(&[0x67, 0x2e, 0x36, 0x3e, 0x26]));
    }
    let coin = |rng: &mut Rng, fixed: Option<bool>| fixed.unwrap_or_else(|| rng.one_in(2));
    let (mut long, mut wide) = (coin(rng, vex.long), coin(rng, vex.wide));
    let mut vvvv = if vex.vvvv { rng.below(16) as u8 } else { 0 };
    if rng.one_in(32) {
        match rng.below(5) {
            0 => vvvv ^= 1 << rng.below(4),
            1 => long = !long,
            // AMD's processors carry VPERMQ and VPERMPD out with W = 0 too, against the manuals.
            2 if vex.map == 3 && matches!(t.opcode[..], [0 | 1]) => {}
            2 => wide = !wide,
            _ => code.push(rng.pick(&[0x66, 0xf2, 0xf3, 0xf0, 0x40, 0x48])),
        }
    }
    let bits = rng.bits() as u8;
    let (r, x, b) = (bits >> 2 & 1, bits >> 1 & 1, bits & 1);
    // All but L and pp are stored inverted.
    let low = (!vvvv & 15) << 3 | u8::from(long) << 2 | vex.implied;
    if vex.map == 1 && !wide && x == 0 && b == 0 && rng.one_in(2) {
        code.extend([0xc5, (r ^ 1) << 7 | low]);
    } else {
        let high = (r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | vex.map;
        code.extend([0xc4, high, u8::from(wide) << 7 | low]);
    }
    code.extend(&t.opcode);
    super::encode::tail(rng, t, &mut code, t.imm, vex.vsib);
    code
}
