# Tries to leave a core dump on the host, or to have the host's handler of core dumps started: it crashes.
# gvisor, microvm: exit_nonzero
import ctypes
import resource

hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
ctypes.string_at(8)
