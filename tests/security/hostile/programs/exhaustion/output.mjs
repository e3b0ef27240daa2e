// Tries to fill the server's memory with one line that never ends.
// With: max_output_bytes=1000000, timeout_s=60
// isolate, gvisor, microvm: output_limit
import fs from "node:fs"
for (;;) fs.writeSync(1, "x".repeat(65536))
