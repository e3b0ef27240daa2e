# Tries to find keys of other users in the kernel's keyrings, which know no namespaces.
# gvisor: denied
# microvm: denied or own
import os

from attempt import attempt, read, syscall

ADD_KEY, REQUEST_KEY, KEYCTL = 248, 249, 250
for ring in (-1, -2, -3, -4, -5):
    attempt(f"ring {ring}", lambda ring=ring: syscall(KEYCTL, 0, ring, 0))
attempt("of the host", lambda: syscall(REQUEST_KEY, b"user", os.environ["HOST_KEY"].encode(), 0, 0))
attempt("list", lambda: read("/proc/keys"))
attempt("leave one", lambda: syscall(ADD_KEY, b"user", b"caisson-left", b"x", 1, -4))
