# Tries to set up io_uring, through which system calls pass without being seen by a filter.
# gvisor, microvm: denied or own
import ctypes

from attempt import attempt, syscall

attempt("io_uring_setup", lambda: syscall(425, 8, ctypes.create_string_buffer(120)))
attempt("io_uring_enter", lambda: syscall(426, 0, 1, 1, 0, 0, 0))
attempt("io_uring_register", lambda: syscall(427, -1, 0, 0, 0))
