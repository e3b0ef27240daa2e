;; Tries to read beyond its memory, by every width and offset that a compiler once got wrong.
;; isolate: exception
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i64.load offset=4294967295 (i32.const -1)))))
