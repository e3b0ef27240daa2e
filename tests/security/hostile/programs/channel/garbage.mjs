// Tries to break the server by writing what is no message to everything that is open.
// isolate: sandbox_crashed or denied or exception
// gvisor, microvm: denied or sandbox_crashed or exception or exit_nonzero
import fs from "node:fs"

const core = globalThis.Deno?.[globalThis.Deno.internal]?.core
const garbage = new Uint8Array(4096).fill(255)
for (let fd = 3; fd < 64; fd++) {
  try {
    core ? core.writeSync(fd, garbage) : fs.writeSync(fd, garbage)
  } catch { /* not open */ }
}
