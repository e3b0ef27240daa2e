;; Tries to run for ever.
;; With: timeout_s=2
;; isolate: timeout
(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))
