//! The Linux personality: processes, memory, files, signals. No x86, no IR, no Wasm.
