# Tries to fill the host's disk.
# With: mem_mb=128, disk_mb=32, timeout_s=60
# gvisor, microvm: disk_full
with open("full", "wb") as file:
    while True:
        file.write(bytes(1 << 20))
