;; Tries to be given what no module is: a function of the host's by a name that it makes up.
;; isolate: exception or invalid_code or exit_nonzero
(module
  (import "env" "system" (func $system (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "id")
  (func (export "_start") (drop (call $system (i32.const 0)))))
