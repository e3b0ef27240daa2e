// Tries to use up the host's memory, on the heap and beside it.
// With: mem_mb=64, timeout_s=30
// isolate, gvisor, microvm: out_of_memory
const kept = []
for (;;) kept.push(new Uint8Array(1 << 22).fill(1), new Array(1000).fill(Math.random()))
