// Tries to be led out of its folders by links: made by itself, renamed over, and of the kind that leads above the root.
// isolate: denied
import fs from "node:fs"
import { attempt, env } from "./attempt.mjs"

await attempt("link", () => { fs.symlinkSync(env.HOST_FILE, "/tmp/link"); return fs.readFileSync("/tmp/link", "utf8") })
await attempt("hard link", () => { fs.linkSync(env.HOST_FILE, "/tmp/hard"); return fs.readFileSync("/tmp/hard", "utf8") })
await attempt("folder", () => { fs.symlinkSync("/", "/tmp/root"); return fs.readdirSync("/tmp/root") })
await attempt("above", () => fs.readFileSync("/work/../../../.." + env.HOST_FILE, "utf8"))
await attempt("encoded", () => fs.readFileSync(new URL(`file:///work/%2e%2e/%2e%2e${env.HOST_FILE}`), "utf8"))
await attempt("renamed", () => { fs.writeFileSync("/tmp/own", ""); fs.renameSync("/tmp/own", "/bin/deno"); return "renamed" })
await attempt("copied", () => { fs.copyFileSync(env.HOST_FILE, "/tmp/copy"); return fs.readFileSync("/tmp/copy", "utf8") })
