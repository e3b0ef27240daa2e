// Tries, as a runtime that is wholly taken over, to leave by namespaces, mounts and another root.
// jail: denied
import { attempt } from "./attempt.mjs"
import { bytes, syscall } from "./jail.mjs"

for (const flag of [0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x04000000, 0x08000000, 0x02000000]) {
  await attempt(`unshare ${flag.toString(16)}`, () => syscall(272, flag))
}
await attempt("clone3", () => syscall(435, bytes([0, 0, 0, 0x10], 88), 88))
await attempt("clone in namespaces", () => syscall(56, 0x10000000 | 17))
await attempt("setns", () => syscall(308, 3, 0))
await attempt("mount", () => syscall(165, bytes("none"), bytes("/tmp"), bytes("tmpfs"), 0, 0))
await attempt("remount", () => syscall(165, bytes("none"), bytes("/"), 0, 32, 0))
await attempt("umount", () => syscall(166, bytes("/tmp"), 2))
await attempt("pivot_root", () => syscall(155, bytes("/tmp"), bytes("/tmp")))
await attempt("chroot", () => syscall(161, bytes("/tmp")))
for (const [name, number] of Object.entries({ open_tree: 428, move_mount: 429, fsopen: 430, fsmount: 432, fspick: 433, mount_setattr: 442 })) {
  await attempt(name, () => syscall(number, -100, bytes("/"), 1, 0, 0))
}
