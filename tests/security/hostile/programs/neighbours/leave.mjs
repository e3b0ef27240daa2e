// Leaves traces wherever a later workload might look; what looks for them comes after it, for another tenant.
// isolate: own
import fs from "node:fs"
import { attempt, env } from "./attempt.mjs"

for (const folder of ["/tmp", "/work", "/run/caisson/cache", "/run"]) {
  await attempt(folder, () => fs.writeFileSync(`${folder}/left`, env.MARK) ?? "left")
}
globalThis.localStorage?.setItem?.("left", env.MARK)
globalThis.left = new Array(1000).fill(env.MARK.repeat(1000))
