;; Tries to use up the host's memory: grows until nothing more is given, and touches every page of it.
;; With: mem_mb=64, timeout_s=60
;; isolate: out_of_memory or exception or exit_nonzero
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32)
    (loop $more
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 65536)))
      (br $more))))
