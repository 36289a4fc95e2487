//! The initial stack of a program (System V ABI AMD64, 3.4.1), laid out as Linux does it. From the top: a null word,
//! the program's path, environment strings, argument strings, the platform string, sixteen random bytes, padding,
//! the auxiliary vector, envp, argv, argc.

use abi::Errno;
use abi::auxv::*;

use crate::mm::Mm;

/// What goes on the stack.
#[derive(Clone, Debug, Default)]
pub struct StackSpec<'a> {
    /// Arguments.
    pub argv: &'a [Vec<u8>],
    /// Environment.
    pub envp: &'a [Vec<u8>],
    /// Path of the program (`AT_EXECFN`).
    pub path: &'a [u8],
    /// `AT_RANDOM`.
    pub random: [u8; 16],
    /// Entries of the auxiliary vector that are not addresses on the stack.
    pub auxv: Vec<(u64, u64)>,
}

/// Where things ended up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackLayout {
    /// Initial stack pointer; argc is there.
    pub sp: u64,
    /// Argument strings.
    pub args: (u64, u64),
    /// Environment strings.
    pub env: (u64, u64),
    /// The auxiliary vector as stored.
    pub auxv: Vec<(u64, u64)>,
}

/// Bytes of strings and pointers.
pub fn size_of(argv: &[Vec<u8>], envp: &[Vec<u8>]) -> u64 {
    argv.iter().chain(envp).map(|s| s.len() as u64 + 1 + 8).sum()
}

/// Builds the stack below `top` in the current space (mapped, growing on demand).
pub fn build(mm: &mut Mm, top: u64, spec: &StackSpec) -> Result<StackLayout, Errno> {
    let mut sp = top - 8;
    let mut push = |mm: &mut Mm, bytes: &[u8], nul: bool| -> Result<u64, Errno> {
        if nul {
            sp -= 1;
            mm.write_user(sp, &[0])?;
        }
        sp = sp.checked_sub(bytes.len() as u64).ok_or(Errno::E2BIG)?;
        mm.write_user(sp, bytes)?;
        Ok(sp)
    };
    let execfn = push(mm, spec.path, true)?;
    let mut env = Vec::with_capacity(spec.envp.len());
    for text in spec.envp.iter().rev() {
        env.push(push(mm, text, true)?);
    }
    env.reverse();
    let env_start = env.first().copied().unwrap_or(execfn);
    let mut args = Vec::with_capacity(spec.argv.len());
    for text in spec.argv.iter().rev() {
        args.push(push(mm, text, true)?);
    }
    args.reverse();
    let arg_start = args.first().copied().unwrap_or(env_start);

    sp &= !15;
    let mut push = |mm: &mut Mm, bytes: &[u8]| -> Result<u64, Errno> {
        sp = sp.checked_sub(bytes.len() as u64).ok_or(Errno::E2BIG)?;
        mm.write_user(sp, bytes)?;
        Ok(sp)
    };
    let platform = push(mm, b"x86_64\0")?;
    let random = push(mm, &spec.random)?;

    let mut auxv = spec.auxv.clone();
    auxv.push((AT_RANDOM, random));
    auxv.push((AT_EXECFN, execfn));
    auxv.push((AT_PLATFORM, platform));
    auxv.push((AT_NULL, 0));

    let mut words = vec![args.len() as u64];
    words.extend(&args);
    words.push(0);
    words.extend(&env);
    words.push(0);
    words.extend(auxv.iter().flat_map(|&(kind, value)| [kind, value]));
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let sp = (random.checked_sub(bytes.len() as u64).ok_or(Errno::E2BIG)?) & !15;
    mm.write_user(sp, &bytes)?;
    Ok(StackLayout { sp, args: (arg_start, env_start), env: (env_start, execfn), auxv })
}
