// Tries, as a runtime that is wholly taken over, to find a file of the host, a device, a descriptor left open.
// jail: denied
import { attempt, env } from "./attempt.mjs"
import { bytes, syscall } from "./jail.mjs"

const path = env.HOST_FILE
await attempt("file", () => Deno.readTextFileSync(path))
await attempt("above", () => Deno.readTextFileSync("/..".repeat(20) + path))
await attempt("folder", () => [...Deno.readDirSync(env.HOST_FOLDER)].length)
await attempt("processes", () => [...Deno.readDirSync("/proc")].filter((each) => each.name !== "self")[0].name)
await attempt("root of init", () => Deno.readTextFileSync("/proc/1/root" + path))
await attempt("shadow", () => Deno.readTextFileSync("/etc/shadow"))
for (const [name, major, minor] of [["disk", 8, 0], ["memory", 1, 1], ["null", 1, 3]]) {
  for (const kind of [0o060666, 0o020666]) await attempt(`make ${name}`, () => syscall(133, bytes(`/tmp/${name}${kind}`), kind, major * 256 + minor))
}
for (let fd = 3; fd < 64; fd++) {
  await attempt(`above ${fd}`, () => { syscall(81, fd); return Deno.readTextFileSync("../".repeat(40) + path.slice(1)) })
}
await attempt("change the runtime", () => Deno.writeTextFileSync("/bin/deno", ""))
await attempt("change the harness", () => Deno.writeTextFileSync("/run/caisson/harness/harness.js", ""))
await attempt("add to its work folder", () => Deno.writeTextFileSync("/work/x", ""))
await attempt("a name for itself in the root", () => Deno.mkdirSync("/evil"))
