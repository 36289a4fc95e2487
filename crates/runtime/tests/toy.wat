;; A guest that keeps the linker's contract and does next to nothing, so that linking and running can be
;; tested without the machine. `_start` writes the booted state to standard output: the first byte of the
;; image, which boot increments in its own memory, and how often boot ran. It exits with status 7.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $image (mut i32) (i32.const 0))
  (global $boots (mut i32) (i32.const 0))
  (data (i32.const 32) "state: ")

  (func $reserve (param $len i32) (result i32)
    (i32.shl
      (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $len) (i32.const 16))))
      (i32.const 16)))
  (func (export "boxer-reserve") (param $len i32) (result i32)
    (global.set $image (call $reserve (local.get $len)))
    (global.get $image))
  (func (export "boxer-config-reserve") (param $len i32) (result i32)
    (call $reserve (local.get $len)))

  ;; An image that begins with '!' makes boot write a message; with '?' it traps.
  (func (export "wizer-initialize")
    (if (i32.eq (i32.load8_u (global.get $image)) (i32.const 33)) (then (call $say)))
    (if (i32.eq (i32.load8_u (global.get $image)) (i32.const 63)) (then (unreachable)))
    (global.set $boots (i32.add (global.get $boots) (i32.const 1)))
    (i32.store8 (i32.const 39) (i32.add (i32.load8_u (global.get $image)) (i32.const 1)))
    (i32.store8 (i32.const 40) (i32.add (global.get $boots) (i32.const 48)))
    (i32.store8 (i32.const 41) (i32.const 10)))

  (func $say
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 10))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (call $say)
    (call $proc_exit (i32.const 7))))
