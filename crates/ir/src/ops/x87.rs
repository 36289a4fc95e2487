//! Rows: x87, MMX and SSE control state. Which fields count is said at each function.

/// x87 rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_x87 {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
        X87Wait "x87.wait" State(sem::x87::wait);
        X87Last "x87.last" State(sem::x87::last);
        X87Fld32 "x87.fld32" State(sem::x87::fld32);
        X87Fld64 "x87.fld64" State(sem::x87::fld64);
        X87Fld80 "x87.fld80" State(sem::x87::fld80);
        X87Fild "x87.fild" State(sem::x87::fild);
        X87Fbld "x87.fbld" State(sem::x87::fbld);
        X87Fldst "x87.fldst" State(sem::x87::fldst);
        X87Fldconst "x87.fldconst" State(sem::x87::fldconst);
        X87Get "x87.get" State(sem::x87::get);
        X87Done "x87.done" State(sem::x87::done);
        X87Arith "x87.arith" State(sem::x87::arith);
        X87Arithm "x87.arithm" State(sem::x87::arithm);
        X87Com "x87.com" State(sem::x87::com);
        X87Comm "x87.comm" State(sem::x87::comm);
        X87Ftst "x87.ftst" State(sem::x87::ftst);
        X87Fxam "x87.fxam" State(sem::x87::fxam);
        X87Fchs "x87.fchs" State(sem::x87::fchs);
        X87Fabs "x87.fabs" State(sem::x87::fabs);
        X87Fsqrt "x87.fsqrt" State(sem::x87::fsqrt);
        X87Frndint "x87.frndint" State(sem::x87::frndint);
        X87F2xm1 "x87.f2xm1" State(sem::x87::f2xm1);
        X87Fscale "x87.fscale" State(sem::x87::fscale);
        X87Fyl2x "x87.fyl2x" State(sem::x87::fyl2x);
        X87Fyl2xp1 "x87.fyl2xp1" State(sem::x87::fyl2xp1);
        X87Fpatan "x87.fpatan" State(sem::x87::fpatan);
        X87Fprem "x87.fprem" State(sem::x87::fprem);
        X87Fprem1 "x87.fprem1" State(sem::x87::fprem1);
        X87Fxtract "x87.fxtract" State(sem::x87::fxtract);
        X87Fsin "x87.fsin" State(sem::x87::fsin);
        X87Fcos "x87.fcos" State(sem::x87::fcos);
        X87Fsincos "x87.fsincos" State(sem::x87::fsincos);
        X87Fptan "x87.fptan" State(sem::x87::fptan);
        X87Fxch "x87.fxch" State(sem::x87::fxch);
        X87Fcmov "x87.fcmov" State(sem::x87::fcmov);
        X87Fstst "x87.fstst" State(sem::x87::fstst);
        X87Ffree "x87.ffree" State(sem::x87::ffree);
        X87Fmovetop "x87.fmovetop" State(sem::x87::fmovetop);
        X87Fninit "x87.fninit" State(sem::x87::fninit);
        X87Fnclex "x87.fnclex" State(sem::x87::fnclex);
        X87Fldcw "x87.fldcw" State(sem::x87::fldcw);
        X87Fnstcw "x87.fnstcw" State(sem::x87::fnstcw);
        X87Fnstsw "x87.fnstsw" State(sem::x87::fnstsw);
        X87Envget "x87.envget" State(sem::x87::envget);
        X87Envput "x87.envput" State(sem::x87::envput);
        X87Maskall "x87.maskall" State(sem::x87::maskall);
        X87Regget "x87.regget" State(sem::x87::regget);
        X87Regput "x87.regput" State(sem::x87::regput);
        Fxget "fxget" State(sem::x87::fxget);
        Fxput "fxput" State(sem::x87::fxput);
        Ldmxcsr "ldmxcsr" State(sem::x87::ldmxcsr);
        Stmxcsr "stmxcsr" State(sem::x87::stmxcsr);
        Mmxget "mmxget" State(sem::x87::mmxget);
        Mmxput "mmxput" State(sem::x87::mmxput);
        Emms "emms" State(sem::x87::emms);
    } } };
}
