;; A WASI preview 1 command; hello.wasm is this file, assembled.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovs i32) (param $count i32) (param $written i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "WebAssembly greets world\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16)) ;; where the text begins
    (i32.store (i32.const 4) (i32.const 25)) ;; and how long it is
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
