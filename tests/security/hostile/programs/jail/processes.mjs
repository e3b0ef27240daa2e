// Tries, as a runtime that is wholly taken over, to start programs, become another user and signal others.
// jail: denied
import { attempt, env } from "./attempt.mjs"
import { bytes, syscall } from "./jail.mjs"

await attempt("fork", () => syscall(57))
await attempt("vfork", () => syscall(58))
await attempt("clone", () => syscall(56, 17))
await attempt("execveat", () => syscall(322, -100, bytes("/bin/deno"), 0, 0, 0))
await attempt("a program of the host", () => syscall(59, bytes("/bin/sh"), 0, 0))
for (const [name, number] of Object.entries({ setuid: 105, setgid: 106, setfsuid: 122 })) {
  await attempt(name, () => syscall(number, 0) || Promise.reject(new Error("still the same")))
}
await attempt("setgroups", () => syscall(116, 0, 0))
await attempt("setresuid", () => syscall(117, 0, 0, 0))
await attempt("capset", () => syscall(126, bytes([0x22, 5, 8, 0x20], 8), bytes(new Uint8Array(24).fill(255))))
await attempt("kill a process of the host", () => syscall(62, Number(env.HOST_PID), 9))
await attempt("signal it otherwise", () => syscall(129, Number(env.HOST_PID), 9, bytes("", 128)))
await attempt("more files", () => syscall(160, 7, bytes(new Uint8Array(16).fill(127))))
await attempt("core dumps", () => syscall(160, 4, bytes(new Uint8Array(16).fill(127))))
