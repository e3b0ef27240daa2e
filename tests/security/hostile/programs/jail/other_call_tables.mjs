// Tries, as a runtime that is wholly taken over, the x32 numbers of calls that the filter does not let through. Deadly.
// jail: sandbox_crashed or exit_nonzero
import { syscall } from "./jail.mjs"

try { syscall(0x40000000 | 2, 0) } catch { /* there is no catching it */ }
console.log("got x32: alive")
