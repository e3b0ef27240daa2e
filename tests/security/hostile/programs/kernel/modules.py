# Tries to load code into the kernel, or another kernel.
# gvisor, microvm: denied
import ctypes

from attempt import attempt, syscall

image = ctypes.create_string_buffer(b"\x7fELF" + bytes(4096))
attempt("init_module", lambda: syscall(175, image, 4096, b""))
attempt("finit_module", lambda: syscall(313, 0, b"", 0))
attempt("delete_module", lambda: syscall(176, b"kvm", 0))
attempt("kexec_load", lambda: syscall(246, 0, 0, 0, 0))
attempt("kexec_file_load", lambda: syscall(320, 0, 0, 0, b"", 0))
attempt("create_module", lambda: syscall(174, b"evil", 4096))
