// Tries to read a file of the host by every path that could lead to it, with what a JavaScript runtime offers.
// isolate, gvisor, microvm: denied
import fs from "node:fs"
import { attempt, env } from "./attempt.mjs"

const path = env.HOST_FILE
const up = "/..".repeat(40)
for (const start of ["", up, `/work${up}`, "/proc/self/root", "/proc/1/root"]) {
  await attempt(`${start.slice(0, 20)}…file`, () => fs.readFileSync(start + path, "utf8"))
}
await attempt("folder", () => fs.readdirSync(env.HOST_FOLDER))
await attempt("writing", () => fs.appendFileSync(path, "x"))
await attempt("import", () => import(`file://${path}`, { with: { type: "json" } }))
await attempt("fetch", async () => (await fetch(`file://${path}`)).text())
await attempt("watch", () => fs.statSync(path).size)
