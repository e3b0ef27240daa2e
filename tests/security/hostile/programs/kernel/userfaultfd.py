# Tries to halt the kernel in the middle of a copy, the classic help of exploits: userfaultfd.
# gvisor: denied
# microvm: denied or own
from attempt import attempt, syscall

for flags in (0, 1, 0o2000000, 0o2004000):
    attempt(f"userfaultfd {flags}", lambda flags=flags: syscall(323, flags))
attempt("device", lambda: open("/dev/userfaultfd", "r+b"))
