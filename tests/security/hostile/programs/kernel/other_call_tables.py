# Tries to reach system calls under other numbers: the 32-bit table by its interrupt, and the x32 table by its bit.
# gvisor: denied or exit_nonzero or sandbox_crashed
# microvm: denied or exit_nonzero
import ctypes
import mmap
import os

from attempt import attempt, syscall

X32 = 0x40000000
for name, number in [("open", 2), ("ptrace", 521), ("process_vm_readv", 539), ("mount", 165)]:
    attempt(f"x32 {name}", lambda number=number: syscall(X32 | number, 0, 0, 0, 0, 0))
# mov eax, 38 (uselib's neighbour: rename); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\x53\xb8\x15\x00\x00\x00\x31\xdb\x31\xc9\x31\xd2\xcd\x80\x5b\xc3")  # mount(0, 0, 0) of that table
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))


def mount_32():
    value = call()
    if value < 0:
        raise OSError(-value, os.strerror(-value))
    return value


attempt("int 0x80 mount", mount_32)
