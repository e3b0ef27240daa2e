# Tries to use up memory by files in /dev/shm and /tmp, which nobody's limits on processes count.
# With: mem_mb=64, disk_mb=64, timeout_s=60
# gvisor, microvm: disk_full or out_of_memory or exit_nonzero
head -c 1G /dev/zero >/dev/shm/full & head -c 1G /dev/zero >/tmp/full & head -c 1G /dev/zero >full
wait
exit 1
