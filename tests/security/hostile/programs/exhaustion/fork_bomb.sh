# Tries to fill the host's table of processes.
# With: mem_mb=64, timeout_s=3
# gvisor, microvm: timeout or out_of_memory or exit_nonzero or exception or completed
bomb() { bomb | bomb & }
bomb 2>/dev/null
sleep 60
