//! Rows: the floating point of AVX, FMA and F16C that SSE has not. A 256-bit op is the 128-bit function on both halves.

/// Floating-point AVX rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_vector_float {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
        // 256 bits: both halves under one guard
        Addps256 "addps.256" Y2(sem::simd_float::addps);
        Addpd256 "addpd.256" Y2(sem::simd_float::addpd);
        Subps256 "subps.256" Y2(sem::simd_float::subps);
        Subpd256 "subpd.256" Y2(sem::simd_float::subpd);
        Mulps256 "mulps.256" Y2(sem::simd_float::mulps);
        Mulpd256 "mulpd.256" Y2(sem::simd_float::mulpd);
        Divps256 "divps.256" Y2(sem::simd_float::divps);
        Divpd256 "divpd.256" Y2(sem::simd_float::divpd);
        Minps256 "minps.256" Y2(sem::simd_float::minps);
        Minpd256 "minpd.256" Y2(sem::simd_float::minpd);
        Maxps256 "maxps.256" Y2(sem::simd_float::maxps);
        Maxpd256 "maxpd.256" Y2(sem::simd_float::maxpd);
        Addsubps256 "addsubps.256" Y2(sem::simd_float::addsubps);
        Addsubpd256 "addsubpd.256" Y2(sem::simd_float::addsubpd);
        Haddps256 "haddps.256" Y2(sem::simd_float::haddps);
        Haddpd256 "haddpd.256" Y2(sem::simd_float::haddpd);
        Hsubps256 "hsubps.256" Y2(sem::simd_float::hsubps);
        Hsubpd256 "hsubpd.256" Y2(sem::simd_float::hsubpd);
        Sqrtps256 "sqrtps.256" Y1(sem::simd_float::sqrtps);
        Sqrtpd256 "sqrtpd.256" Y1(sem::simd_float::sqrtpd);
        Cmpps256 "cmpps.256" Y2i(sem::simd_float::cmpps);
        Cmppd256 "cmppd.256" Y2i(sem::simd_float::cmppd);
        Dpps256 "dpps.256" Yy2i(sem::simd_float::dpps256);
        Roundps256 "roundps.256" Y1i(sem::simd_float::roundps);
        Roundpd256 "roundpd.256" Y1i(sem::simd_float::roundpd);
        Cvtdq2ps256 "cvtdq2ps.256" Y1(sem::convert::cvtdq2ps);
        Cvtps2dq256 "cvtps2dq.256" Y1(sem::convert::cvtps2dq);
        Cvttps2dq256 "cvttps2dq.256" Y1(sem::convert::cvttps2dq);
        Cvtps2pd256 "cvtps2pd.256" Yw1(sem::convert::cvtps2pd);
        Cvtpd2ps256 "cvtpd2ps.256" Yn1(sem::convert::cvtpd2ps);
        Cvtpd2dq256 "cvtpd2dq.256" Yn1(sem::convert::cvtpd2dq);
        Cvttpd2dq256 "cvttpd2dq.256" Yn1(sem::convert::cvttpd2dq);
        Vpermilps "vpermilps" V2(sem::shuffle::vpermilps);
        Vpermilpd "vpermilpd" V2(sem::shuffle::vpermilpd);
        Vtestps "vtestps" Rv2(sem::packed::vtestps);
        Vtestpd "vtestpd" Rv2(sem::packed::vtestpd);
        // half precision
        Vcvtph2ps "vcvtph2ps" F1(sem::half::vcvtph2ps);
        Vcvtps2ph "vcvtps2ph" F1i(sem::half::vcvtps2ph);
        Vcvtph2ps256 "vcvtph2ps.256" Yw1(sem::half::vcvtph2ps);
        Vcvtps2ph256 "vcvtps2ph.256" Yn1i(sem::half::vcvtps2ph);
        // fused multiply and add: packed ones of x, y, z
        Fmaddps "fmaddps" F3(sem::fma::fmaddps);
        Fmaddpd "fmaddpd" F3(sem::fma::fmaddpd);
        Fmsubps "fmsubps" F3(sem::fma::fmsubps);
        Fmsubpd "fmsubpd" F3(sem::fma::fmsubpd);
        Fnmaddps "fnmaddps" F3(sem::fma::fnmaddps);
        Fnmaddpd "fnmaddpd" F3(sem::fma::fnmaddpd);
        Fnmsubps "fnmsubps" F3(sem::fma::fnmsubps);
        Fnmsubpd "fnmsubpd" F3(sem::fma::fnmsubpd);
        Fmaddsubps "fmaddsubps" F3(sem::fma::fmaddsubps);
        Fmaddsubpd "fmaddsubpd" F3(sem::fma::fmaddsubpd);
        Fmsubaddps "fmsubaddps" F3(sem::fma::fmsubaddps);
        Fmsubaddpd "fmsubaddpd" F3(sem::fma::fmsubaddpd);
        Fmaddps256 "fmaddps.256" Y3(sem::fma::fmaddps);
        Fmaddpd256 "fmaddpd.256" Y3(sem::fma::fmaddpd);
        Fmsubps256 "fmsubps.256" Y3(sem::fma::fmsubps);
        Fmsubpd256 "fmsubpd.256" Y3(sem::fma::fmsubpd);
        Fnmaddps256 "fnmaddps.256" Y3(sem::fma::fnmaddps);
        Fnmaddpd256 "fnmaddpd.256" Y3(sem::fma::fnmaddpd);
        Fnmsubps256 "fnmsubps.256" Y3(sem::fma::fnmsubps);
        Fnmsubpd256 "fnmsubpd.256" Y3(sem::fma::fnmsubpd);
        Fmaddsubps256 "fmaddsubps.256" Y3(sem::fma::fmaddsubps);
        Fmaddsubpd256 "fmaddsubpd.256" Y3(sem::fma::fmaddsubpd);
        Fmsubaddps256 "fmsubaddps.256" Y3(sem::fma::fmsubaddps);
        Fmsubaddpd256 "fmsubaddpd.256" Y3(sem::fma::fmsubaddpd);
        // fused multiply and add: scalar ones of op1, op2, op3
        Fmadd132ss "fmadd132ss" F3(sem::fma::fmadd132ss);
        Fmadd213ss "fmadd213ss" F3(sem::fma::fmadd213ss);
        Fmadd231ss "fmadd231ss" F3(sem::fma::fmadd231ss);
        Fmadd132sd "fmadd132sd" F3(sem::fma::fmadd132sd);
        Fmadd213sd "fmadd213sd" F3(sem::fma::fmadd213sd);
        Fmadd231sd "fmadd231sd" F3(sem::fma::fmadd231sd);
        Fmsub132ss "fmsub132ss" F3(sem::fma::fmsub132ss);
        Fmsub213ss "fmsub213ss" F3(sem::fma::fmsub213ss);
        Fmsub231ss "fmsub231ss" F3(sem::fma::fmsub231ss);
        Fmsub132sd "fmsub132sd" F3(sem::fma::fmsub132sd);
        Fmsub213sd "fmsub213sd" F3(sem::fma::fmsub213sd);
        Fmsub231sd "fmsub231sd" F3(sem::fma::fmsub231sd);
        Fnmadd132ss "fnmadd132ss" F3(sem::fma::fnmadd132ss);
        Fnmadd213ss "fnmadd213ss" F3(sem::fma::fnmadd213ss);
        Fnmadd231ss "fnmadd231ss" F3(sem::fma::fnmadd231ss);
        Fnmadd132sd "fnmadd132sd" F3(sem::fma::fnmadd132sd);
        Fnmadd213sd "fnmadd213sd" F3(sem::fma::fnmadd213sd);
        Fnmadd231sd "fnmadd231sd" F3(sem::fma::fnmadd231sd);
        Fnmsub132ss "fnmsub132ss" F3(sem::fma::fnmsub132ss);
        Fnmsub213ss "fnmsub213ss" F3(sem::fma::fnmsub213ss);
        Fnmsub231ss "fnmsub231ss" F3(sem::fma::fnmsub231ss);
        Fnmsub132sd "fnmsub132sd" F3(sem::fma::fnmsub132sd);
        Fnmsub213sd "fnmsub213sd" F3(sem::fma::fnmsub213sd);
        Fnmsub231sd "fnmsub231sd" F3(sem::fma::fnmsub231sd);
    } } };
}
