;; Tries to open files through the folders it was given, and above them.
;; isolate: exit_nonzero or exception or denied
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "../../../../etc/passwd")
  (func (export "_start")
    (local $fd i32)
    (loop $next
      ;; Succeeds only if a folder leads above itself; then the program ends well, which it must not.
      (if (i32.eqz (call $open (local.get $fd) (i32.const 1) (i32.const 64) (i32.const 22)
                     (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 32)))
        (then return))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $fd) (i32.const 64))))
    unreachable))
