// Tries what Deno asks permission for: programs, libraries, workers, system facts, other modules.
// isolate: denied
import { attempt, env } from "./attempt.mjs"

const Deno = globalThis.Deno
await attempt("program", () => new Deno.Command("/bin/deno", { args: ["--version"] }).outputSync().code)
await attempt("library", () => Deno.dlopen("/lib/x86_64-linux-gnu/libc.so.6", { getpid: { parameters: [], result: "i32" } }))
await attempt("host name", () => Deno.hostname())
await attempt("release", () => Deno.osRelease())
await attempt("memory", () => Deno.systemMemoryInfo().total)
await attempt("interfaces", () => Deno.networkInterfaces().length)
await attempt("listen", () => Deno.listen({ port: 0 }).addr.port)
await attempt("socket", async () => (await Deno.connect({ transport: "unix", path: `\0${env.HOST_SOCKET}` })).readable)
await attempt("process 1", () => Deno.readTextFileSync("/proc/1/environ"))
await attempt("itself", () => Deno.readTextFileSync("/proc/self/maps"))
await attempt("asked for", async () => (await Deno.permissions.request({ name: "read" })).state === "granted" || Promise.reject(new Error("not granted")))
await attempt("worker", () => new Promise((got, denied) => {
  const source = `try { postMessage(Deno.readTextFileSync(${JSON.stringify(env.HOST_FILE)})) } catch (e) { postMessage(0) }`
  const worker = new Worker(`data:application/javascript,${encodeURIComponent(source)}`, { type: "module" })
  worker.onmessage = (event) => { worker.terminate(); event.data ? got(event.data) : denied(new Error("not readable")) }
  worker.onerror = (event) => { event.preventDefault(); denied(new Error("no worker")) }
}))
