# Tries to use up the host's memory.
# With: mem_mb=64, timeout_s=60
# gvisor, microvm: out_of_memory
kept = []
while True:
    kept.append(bytearray(1 << 22))
