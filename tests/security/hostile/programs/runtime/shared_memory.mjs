// Tries to measure what others do with a clock made of shared memory. It may have one; it must end with its time.
// With: timeout_s=3
// isolate: timeout or completed or out_of_memory
const shared = new SharedArrayBuffer(8)
const source = "onmessage = (event) => { const c = new Int32Array(event.data); for (;;) Atomics.add(c, 0, 1) }"
const worker = new Worker(`data:application/javascript,${encodeURIComponent(source)}`, { type: "module" })
worker.postMessage(shared)
for (;;) Atomics.load(new Int32Array(shared), 0)
