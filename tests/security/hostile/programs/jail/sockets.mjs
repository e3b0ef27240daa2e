// Tries, as a runtime that is wholly taken over, to make a socket of any family, and to reach the host.
// jail: denied
import { attempt, env } from "./attempt.mjs"
import { bytes, syscall } from "./jail.mjs"

for (let family = 0; family < 46; family++) {
  for (const kind of [1, 2, 3, 5]) await attempt(`family ${family} kind ${kind}`, () => syscall(41, family, kind, 0))
}
for (const family of [2, 10, 16, 30, 40]) await attempt(`pair ${family}`, () => syscall(53, family, 1, 0, bytes("", 8)))
await attempt("connect", () => Deno.connect({ hostname: "127.0.0.1", port: Number(env.HOST_PORT) }))
await attempt("unix", () => Deno.connect({ transport: "unix", path: `\0${env.HOST_SOCKET}` }))
