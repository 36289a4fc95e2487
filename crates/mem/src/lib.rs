//! Guest physical memory: frames and the lookaside tables that address spaces, interpreter and translated code share.
