//! Which ops have handlers of their own in the run loop: the one list, for the loop and for the compiler.

/// Calls `$cb!` with the names of the frequent ops (and what their handlers need to know), by kind of handler.
macro_rules! frequent {
    ($cb:ident) => {
        $cb! {
        r1: Mov Mov32 Zx8 Zx8h Zx16 Sx8 Sx16 Sx32 Sx8w32 Sx16w32 Not64 Not32 Neg64 Neg32 Bswap64 Bswap32
            Tzcnt64 Tzcnt32 ZfIfZero;
        r2: Dep8 Dep16 Dep8h Add64 Add32 Sub64 Sub32 And64 And32 Or64 Or32 Xor64 Xor32 Mul64 Mul32
            Shl64 Shl32 Shr64 Shr32 Sar64 Sar32 ShrN8 Rol64 Rol32 Ror64 Ror32 UMulH64 Bit32 Bit64 Bsf Bsr;
        load: Load8 u8 Load16 u16 Load32 u32 Load64 u64 SLoad8 u8 SLoad16 u16 SLoad32 u32 SLoad8w32 u8
            SLoad16w32 u16;
        store: Store8 u8 Store16 u16 Store32 u32 Store64 u64;
        flag: FAdd8 Add8 FAdd16 Add16 FAdd32 Add32 FAdd64 Add64 FSub8 Sub8 FSub16 Sub16 FSub32 Sub32 FSub64 Sub64
            FLogic8 Logic8 FLogic16 Logic16 FLogic32 Logic32 FLogic64 Logic64 FSMul32 SMul32 FSMul64 SMul64
            FUMul64 UMul64;
        arithmetic: ADD64 ADD64I Add64 Add64 ADD32 ADD32I Add32 Add32 SUB64 SUB64I Sub64 Sub64
            SUB32 SUB32I Sub32 Sub32;
        logic: AND64 AND64I Logic64 And64 AND32 AND32I Logic32 And32 OR64 OR64I Logic64 Or64
            OR32 OR32I Logic32 Or32 XOR64 XOR64I Logic64 Xor64 XOR32 XOR32I Logic32 Xor32;
        shift: SHL64I Shl64 Shl64 SHL32I Shl32 Shl32 SHR64I Shr64 Shr64 SHR32I Shr32 Shr32 SAR64I Sar64 Sar64
            SAR32I Sar32 Sar32;
        step: INC64 Inc64 Add64 INC32 Inc32 Add32 DEC64 Dec64 Sub64 DEC32 Dec32 Sub32;
        memory: ADD64M u64 Add64 ADD32M u32 Add32 SUB64M u64 Sub64 SUB32M u32 Sub32 AND64M u64 And64
            AND32M u32 And32 OR64M u64 Or64 OR32M u32 Or32 XOR64M u64 Xor64 XOR32M u32 Xor32
            MUL64M u64 Mul64 MUL32M u32 Mul32;
        constant: STORE8I u8 STORE16I u16 STORE32I u32 STORE64I u64;
        v1: Movq Movddup Pmovzxbw Pmovzxwd;
        v2: Pxor Pand Por Pandn Paddb Paddw Paddd Paddq Psubb Psubw Psubd Psubq Pcmpeqb Pcmpeqw Pcmpeqd Pcmpgtb Pcmpgtw
            Pcmpgtd Pminub Pmaxub Pmullw Pmulld Pmuludq Pmaddwd Packuswb Packssdw Punpcklbw Punpckhbw Punpcklwd
            Punpckhwd Punpckldq Punpckhdq Punpcklqdq Punpckhqdq Pshufb Movss Movsd Movlhps Movhlps;
        v1i: Pshufd Pshuflw Pshufhw Psllwi Pslldi Psllqi Psrlwi Psrldi Psrlqi Psrawi Psradi Pslldq Psrldq;
        v2i: Palignr Shufps Shufpd;
        rv1: Pmovmskb VToR64 VToR32;
        vr1: VFromR32 VFromR64;
        f2: Addss addss Addsd addsd Subss subss Subsd subsd Mulss mulss Mulsd mulsd Divss divss Divsd divsd
            Minss minss Minsd minsd Maxss maxss Maxsd maxsd Sqrtsd sqrtsd Cvtss2sd cvtss2sd Cvtsd2ss cvtsd2ss
            Addps addps Addpd addpd Subps subps Subpd subpd Mulps mulps Mulpd mulpd Divps divps Divpd divpd;
        fvr: Cvtsi2sd32 cvtsi2sd32 Cvtsi2sd64 cvtsi2sd64 Cvtsi2ss32 cvtsi2ss32;
        rf1: Cvttsd2si32 cvttsd2si32 Cvttsd2si64 cvttsd2si64;
        rf2: Comiss comiss Comisd comisd Ucomiss ucomiss Ucomisd ucomisd;
        vload: VLoad32 u32 VLoad64 u64;
        vstore: VStore32 u32 VStore64 u64;
        sub: sub8 plain Sub8 u8 i8 sub8i alt Sub8 u8 i8 sub16 plain Sub16 u16 i16 sub16i alt Sub16 u16 i16
            sub32 plain Sub32 u32 i32 sub32i alt Sub32 u32 i32 sub64 plain Sub64 u64 i64 sub64i alt Sub64 u64 i64;
        test: logic8 plain Logic8 i8 logic8i alt Logic8 i8 logic16 plain Logic16 i16 logic16i alt Logic16 i16
            logic32 plain Logic32 i32 logic32i alt Logic32 i32 logic64 plain Logic64 i64 logic64i alt Logic64 i64;
    }
    };
}
pub(crate) use frequent;

macro_rules! frequent_ops {
    (
        r1: $($r1:ident)*; r2: $($r2:ident)*; load: $($load:ident $load_t:ident)*;
        store: $($store:ident $store_t:ident)*; flag: $($flag:ident $flag_kind:ident)*;
        $arithmetic:ident: $($ar:ident)*; $logic:ident: $($lo:ident)*; $shift:ident: $($sh:ident)*;
        $step:ident: $($st:ident)*; $memory:ident: $($me:ident)*; $constant:ident: $($co:ident)*;
        v1: $($v1:ident)*; v2: $($v2:ident)*; v1i: $($v1i:ident)*; v2i: $($v2i:ident)*; rv1: $($rv1:ident)*;
        vr1: $($vr1:ident)*; f2: $($f2:ident $f2_f:ident)*; fvr: $($fvr:ident $fvr_f:ident)*;
        rf1: $($rf1:ident $rf1_f:ident)*; rf2: $($rf2:ident $rf2_f:ident)*; $($rest:tt)*
    ) => {
        /// Whether the run loop has a handler for `op` in all its forms.
        pub fn has_handler(op: ir::Op) -> bool {
            use ir::Op;
            matches!(
                op,
                Op::PutFlags | Op::Li | Op::Lea | Op::Lea32 | Op::GetCc | Op::SelCc | Op::VMov
                    $(| Op::$r1)* $(| Op::$r2)* $(| Op::$flag)* $(| Op::$v1)* $(| Op::$v2)* $(| Op::$v1i)*
                    $(| Op::$v2i)* $(| Op::$rv1)* $(| Op::$vr1)* $(| Op::$f2)* $(| Op::$fvr)* $(| Op::$rf1)*
                    $(| Op::$rf2)*
            )
        }
    };
}
frequent!(frequent_ops);
