/* gVisor before 2024 refuses AT_NO_AUTOMOUNT, which `ls` and `stat` pass to statx(2). Loaded into every program of a
   sandbox there (ld.so(8), /etc/ld.so.preload), this leaves the flag out; there is nothing to mount inside anyway. It is
   linked to no C library, so that it fits any. */
#include <sys/syscall.h>

#define NO_AUTOMOUNT 0x800

long syscall(long number, ...);

__attribute__((visibility("default"))) int statx(int folder, const char *path, int flags, unsigned mask, void *answer);

int statx(int folder, const char *path, int flags, unsigned mask, void *answer) {
    return (int)syscall(SYS_statx, folder, path, flags & ~NO_AUTOMOUNT, mask, answer);
}
