// Tries the doors that Deno's own modules use, which check permissions in other places.
// isolate: denied
import { attempt, env } from "./attempt.mjs"

const core = globalThis.Deno?.[globalThis.Deno.internal]?.core
const ops = core?.ops ?? {}
await attempt("file", () => ops.op_fs_read_file_text_sync(env.HOST_FILE, undefined))
await attempt("file, the other way", () => ops.op_fs_open_sync(env.HOST_FILE, undefined))
await attempt("library", () => ops.op_ffi_load({ path: "/lib/x86_64-linux-gnu/libc.so.6", symbols: {} }))
await attempt("process", () => ops.op_spawn_child({ cmd: "/bin/deno", args: [] }))
await attempt("binding", () => process.binding("fs").internalModuleReadJSON(env.HOST_FILE) || Promise.reject(new Error("no")))
await attempt("wasi", async () => {
  const { WASI } = await import("node:wasi")
  return new WASI({ version: "preview1", preopens: { "/": "/" } }).wasiImport.path_open(3, 0, 0, 0, 0, 0n, 0n, 0, 0)
})
await attempt("inspector", async () => (await import("node:inspector")).open(9229))
await attempt("worker threads", async () => {
  const { Worker } = await import("node:worker_threads")
  return new Promise((got, denied) => {
    const code = `require("node:worker_threads").parentPort.postMessage(require("node:fs").readFileSync(${JSON.stringify(env.HOST_FILE)}, "utf8"))`
    const worker = new Worker(code, { eval: true })
    worker.on("message", got)
    worker.on("error", denied)
    setTimeout(() => denied(new Error("silence")), 1000)
  })
})
