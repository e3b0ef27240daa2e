# Tries to learn which host it is on and how busy that is: names, numbers, boot, load, the processor's counters.
# gvisor, microvm: denied
import ctypes
import os
import socket

from attempt import attempt, empty, read, syscall


def told(text, name):
    """It is something got only if it is the host's own."""
    value = os.environ[name].encode()
    return text if value and value in text else empty()


attempt("boot id", lambda: told(read("/proc/sys/kernel/random/boot_id"), "HOST_BOOT_ID"))
attempt("name", lambda: told(socket.gethostname().encode(), "HOST_NAME"))
attempt("machine id", lambda: told(read("/etc/machine-id"), "HOST_MACHINE_ID"))
log = ctypes.create_string_buffer(65536)
attempt("log", lambda: syscall(103, 3, log, 65536) and told(log.value, "HOST_CMDLINE"))
attempt("command line", lambda: told(read("/proc/cmdline"), "HOST_CMDLINE"))
attempt("mounts", lambda: told(read("/proc/self/mountinfo"), "HOST_FOLDER"))
attempt("cgroup", lambda: told(read("/proc/self/cgroup"), "HOST_NODE"))
attempt("hardware", lambda: read("/sys/class/dmi/id/product_uuid"))
