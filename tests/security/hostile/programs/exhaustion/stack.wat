;; Tries to run over the end of its stack.
;; isolate: exception
(module (memory (export "memory") 1) (func $f (param i64) (result i64) (i64.add (i64.const 1) (call $f (local.get 0))))
  (func (export "_start") (drop (call $f (i64.const 1)))))
