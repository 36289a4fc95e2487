//! Which instructions the generator makes: opcode templates in nearly the SDM's notation.
//!
//! `family: bytes…` where a token is a hex byte, a range `60-6D` of values for the last opcode byte, `+r` (the low three
//! bits of the byte before are free), `/r` (any ModRM), `/0`…`/7` (fixed reg field), `ib`, `iw`, `iz` (32 bits, 16 with
//! prefix 66), `rel` (32 bits, mostly small). Leading 66, F2, F3 are mandatory prefixes. Flags: `w` REX.W may be set, `W` is set, `o` prefix 66 may be
//! added, `rep` F2 or F3 may be added, `m` memory operands only, `g` register operands only, `u` perhaps
//! not an instruction at all.

/// One template.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// Family name.
    pub family: &'static str,
    /// Mandatory prefix.
    pub prefix: Option<u8>,
    /// Opcode; the last byte is the first of a range.
    pub opcode: Vec<u8>,
    /// Last value of the last opcode byte.
    pub last: u8,
    /// ModRM present: reg field if fixed.
    pub modrm: Option<Option<u8>>,
    /// Bytes of immediate; 0xff stands for `iz`, 0xfe for `rel`.
    pub imm: u8,
    /// REX.W allowed.
    pub wide: bool,
    /// REX.W forced.
    pub force_wide: bool,
    /// Prefix 66 allowed.
    pub narrow: bool,
    /// Prefixes F2, F3 allowed.
    pub repeat: bool,
    /// Memory operands only.
    pub memory_only: bool,
    /// Register operands only.
    pub register_only: bool,
    /// Need not be an instruction at all.
    pub undefined: bool,
    /// VEX-encoded.
    pub vex: Option<super::vex::Vex>,
}

const TABLE: &str = "
alu: 00-03 /r w o
alu: 08-0B /r w o
alu: 10-13 /r w o
alu: 18-1B /r w o
alu: 20-23 /r w o
alu: 28-2B /r w o
alu: 30-33 /r w o
alu: 38-3B /r w o
alu: 84-85 /r w o
alu: 80 /r ib
alu: 81 /r iz w o
alu: 83 /r ib w o
alu: 04 ib
alu: 05 iz w o
alu: 0C ib
alu: 0D iz w o
alu: 14 ib
alu: 15 iz w o
alu: 1C ib
alu: 1D iz w o
alu: 24 ib
alu: 25 iz w o
alu: 2C ib
alu: 2D iz w o
alu: 34 ib
alu: 35 iz w o
alu: 3C ib
alu: 3D iz w o
alu: A8 ib
alu: A9 iz w o
alu: F6 /0 ib
alu: F7 /0 iz w o
alu: F6 /2
alu: F6 /3
alu: F7 /2 w o
alu: F7 /3 w o
alu: FE /0
alu: FE /1
alu: FF /0 w o
alu: FF /1 w o
alu: 0F C0-C1 /r w o
alu: 0F B0-B1 /r w o
alu: 0F C7 /1 w m
alu: 66 0F 38 F6 /r w
alu: F3 0F 38 F6 /r w
muldiv: F6 /4
muldiv: F6 /5
muldiv: F6 /6
muldiv: F6 /7
muldiv: F7 /4 w o
muldiv: F7 /5 w o
muldiv: F7 /6 w o
muldiv: F7 /7 w o
muldiv: 69 /r iz w o
muldiv: 6B /r ib w o
muldiv: 0F AF /r w o
shift: C0 /r ib
shift: C1 /r ib w o
shift: D0 /r
shift: D1 /r w o
shift: D2 /r
shift: D3 /r w o
shift: 0F A4 /r ib w o
shift: 0F A5 /r w o
shift: 0F AC /r ib w o
shift: 0F AD /r w o
bits: 0F A3 /r w o
bits: 0F AB /r w o
bits: 0F B3 /r w o
bits: 0F BB /r w o
bits: 0F BA /4 ib w o
bits: 0F BA /5 ib w o
bits: 0F BA /6 ib w o
bits: 0F BA /7 ib w o
bits: 0F BC-BD /r w o
bits: F3 0F B8 /r w o
bits: F3 0F BC-BD /r w o
bits: F2 0F 38 F0 /r w
bits: F2 0F 38 F1 /r w o
bits: 0F C8 +r w
move: 88-8B /r w o
move: 86-87 /r w o
move: 8D /r w o m
move: 63 /r w
move: C6 /0 ib
move: C7 /0 iz w o
move: B0 +r ib
move: B8 +r iz
move: 90-97 w o
move: 98-99 w o
move: 9E-9F
move: 9C-9D
move: F5
move: F8-F9
move: FC-FD
move: 0F B6-B7 /r w o
move: 0F BE-BF /r w o
move: 0F 40-4F /r w o
move: 0F 90-9F /0
move: 50 +r o
move: 58 +r o
move: 6A ib
move: 68 iz o
move: 8F /0 o
move: FF /6 o
move: C9
move: C8 iw ib
move: D7
move: 0F 38 F0-F1 /r w o m
move: 0F C3 /r w m
branch: 70-7F ib
branch: 0F 80-8F rel
branch: E0-E3 ib
branch: EB ib
branch: E8-E9 rel
branch: C3
branch: C2 iw
branch: FF /2
branch: FF /4
branch: 0F 0B
system: 8C /r w o
system: F3 0F AE /0 w g
system: F3 0F AE /1 w g
system: F3 0F AE /2 w g
system: F3 0F AE /3 w g
system: 0F AE /4 w m
system: 0F AE /5 w m
system: 0F AE /7 m
system: 0F AE E8
system: 0F AE F0
system: 0F AE F8
system: F3 90
system: F3 0F 1E FA
system: 0F 0D /r o
system: 0F 18 /r o
system: 0F 19-1F /r w o
system: 0F A0
system: 0F A8
system: FA-FB
system: F4
system: E4-E7 ib
system: EC-EF o
system: 6C-6F rep
system: 0F 06
system: 0F 08-09
system: 0F 20-23 /r g
system: 0F 30
system: 0F 32
system: 0F 01 /2 m
system: 0F 01 /3 m
system: 0F 01 /7 m
system: 0F 00 /2
system: F1
undefined: 06-07 u
undefined: 0E u
undefined: 16-17 u
undefined: 1E-1F u
undefined: 27 u
undefined: 2F u
undefined: 37 u
undefined: 3F u
undefined: 60-61 u
undefined: 82 /r ib u
undefined: 9A iz iw u
undefined: CE u
undefined: D4-D6 ib u
undefined: EA iz iw u
undefined: F0 u
undefined: 0F 04 u
undefined: 0F 0A u
undefined: 0F 0C u
undefined: 0F 24-27 /r u
undefined: 0F 36 u
undefined: 0F 39 u
undefined: 0F A6-A7 u
undefined: 0F B9 /r u
undefined: 0F FF /r u
undefined: 8F /r u
undefined: C6 /r ib u
undefined: FE /r u
undefined: FF /7 u
undefined: 0F BA /r ib u
undefined: 0F 71-73 /r ib u
x87: D9 D8-DF
undefined: D9 D1-D7 u
string: A4-A7 w o rep
string: AA-AF w o rep
sse: 0F 10-17 /r
sse: 0F 28-29 /r
sse: 0F 2B /r
sse: 0F 2E-2F /r
sse: 0F 50 /r w g
sse: 0F 51 /r
sse: 0F 54-59 /r
sse: 0F 5B-5F /r
sse: 0F C2 /r ib
sse: 0F C6 /r ib
sse: F3 0F 10-11 /r
sse: F3 0F 2A /r w
sse: F3 0F 2C-2D /r w
sse: F3 0F 51 /r
sse: F3 0F 58-5F /r
sse: F3 0F C2 /r ib
sse: 0F AE /2 m
sse: 0F AE /3 m
sse2: 66 0F 10-17 /r
sse2: 66 0F 28-29 /r
sse2: 66 0F 2B /r
sse2: 66 0F 2E-2F /r
sse2: 66 0F 50-51 /r w
sse2: 66 0F 54-6F /r w
sse2: 66 0F 70 /r ib
sse2: 66 0F 71-73 /2 ib g
sse2: 66 0F 71-73 /4 ib g
sse2: 66 0F 71-73 /6 ib g
sse2: 66 0F 73 /3 ib g
sse2: 66 0F 73 /7 ib g
sse2: 66 0F 74-76 /r
sse2: 66 0F 7E /r w
sse2: 66 0F 7F /r
sse2: 66 0F C2 /r ib
sse2: 66 0F C4-C6 /r ib
sse2: 66 0F D1-EF /r
sse2: 66 0F F1-FE /r
sse2: F2 0F 10-12 /r
sse2: F2 0F 2A /r w
sse2: F2 0F 2C-2D /r w
sse2: F2 0F 51 /r
sse2: F2 0F 58-5F /r
sse2: F2 0F 70 /r ib
sse2: F2 0F C2 /r ib
sse2: F2 0F E6 /r
sse2: F3 0F 5A-5B /r
sse2: F3 0F 6F-70 /r ib
sse2: F3 0F 7E-7F /r
sse2: F3 0F E6 /r
sse2: 0F 5A /r
sse3: 66 0F 7C-7D /r
sse3: 66 0F D0 /r
sse3: F2 0F 7C-7D /r
sse3: F2 0F D0 /r
sse3: F2 0F F0 /r m
sse3: F2 0F 12 /r
sse3: F3 0F 12 /r
sse3: F3 0F 16 /r
ssse3: 66 0F 38 00-0B /r
ssse3: 66 0F 38 1C-1E /r
ssse3: 66 0F 3A 0F /r ib
sse41: 66 0F 38 10 /r
sse41: 66 0F 38 14-15 /r
sse41: 66 0F 38 17 /r
sse41: 66 0F 38 20-25 /r
sse41: 66 0F 38 28-2B /r
sse41: 66 0F 38 30-35 /r
sse41: 66 0F 38 38-41 /r
sse41: 66 0F 3A 08-0E /r ib
sse41: 66 0F 3A 14-17 /r ib w
sse41: 66 0F 3A 20-22 /r ib w
sse41: 66 0F 3A 40-42 /r ib
sse42: 66 0F 38 37 /r
sse42: 66 0F 3A 60-63 /r ib w
crypto: 66 0F 38 DB-DF /r
crypto: 66 0F 3A DF /r ib
crypto: 66 0F 3A 44 /r ib
crypto: 0F 38 C8-CD /r
crypto: 0F 3A CC /r ib
mmx: 0F 60-6B /r
mmx: 0F 6E-6F /r w
mmx: 0F 70 /r ib
mmx: 0F 71-73 /2 ib g
mmx: 0F 71-72 /4 ib g
mmx: 0F 71-73 /6 ib g
mmx: 0F 74-76 /r
mmx: 0F 77
mmx: 0F 7E-7F /r w
mmx: 0F C4-C5 /r ib
mmx: 0F D1-DF /r
mmx: 0F E0-E5 /r
mmx: 0F E7-EF /r
mmx: 0F F1-FE /r
mmx: 0F 38 00-0B /r
mmx: 0F 38 1C-1E /r
mmx: 0F 3A 0F /r ib
mmx: 0F 2A /r
mmx: 0F 2C-2D /r
mmx: 66 0F 2A /r
mmx: 66 0F 2C-2D /r
mmx: F2 0F D6 /r g
mmx: F3 0F D6 /r g
x87: D8-DF /r m
x87: D8 C0-FF
x87: D9 C0-D0
x87: D9 E0-EF
x87: D9 FA
x87: D9 FC
x87: D9 F4-F7
x87: DA C0-DF
x87: DA E9
x87: DB C0-DF
x87: DB E0-E4
x87: DB E8-F7
x87: DC C0-FF
x87: DD C0-EF
x87: DE C0-CF
x87: DE D9
x87: DE E0-FF
x87: DF C0-E0
x87: DF E8-F7
x87: 9B
x87: 0F AE /0 w m
x87: 0F AE /1 w m
rem: D9 F5
rem: D9 F8
rem: D9 FD
rem: D9 F4
transcendental: D9 F0-F3
transcendental: D9 F9
transcendental: D9 FB
transcendental: D9 FE-FF
";

/// All templates.
pub fn all() -> Vec<Template> {
    let rows = TABLE.lines().filter(|l| !l.is_empty()).map(parse);
    rows.chain(super::vex::templates()).collect()
}

/// Names of the families.
pub fn families() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for t in all() {
        if !names.contains(&t.family) {
            names.push(t.family);
        }
    }
    names
}

fn parse(line: &'static str) -> Template {
    let (family, rest) = line.split_once(':').expect("family");
    let mut t = Template { family, ..Template::default() };
    for token in rest.split_whitespace() {
        match token {
            "w" => t.wide = true,
            "W" => t.force_wide = true,
            "o" => t.narrow = true,
            "rep" => t.repeat = true,
            "m" => t.memory_only = true,
            "g" => t.register_only = true,
            "u" => t.undefined = true,
            "ib" => t.imm += 1,
            "iw" => t.imm += 2,
            "iz" => t.imm = 0xff,
            "rel" => t.imm = 0xfe,
            "/r" => t.modrm = Some(None),
            "+r" => t.last |= 7,
            _ if token.starts_with('/') => t.modrm = Some(Some(token[1..].parse().expect("digit"))),
            _ => {
                let (first, last) = token.split_once('-').unwrap_or((token, token));
                let byte = |s| u8::from_str_radix(s, 16).expect("hex byte");
                let first = byte(first);
                if t.opcode.is_empty() && matches!(first, 0x66 | 0xf2 | 0xf3) && t.prefix.is_none()
                {
                    t.prefix = Some(first);
                } else {
                    t.opcode.push(first);
                    t.last = byte(last);
                }
            }
        }
    }
    t
}
