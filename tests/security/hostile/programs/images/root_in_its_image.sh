# Tries, as root of its own image, what only root may: devices, mounts, another root, modules, the clock.
# gvisor: denied or own or sandbox_crashed
. ./attempt.sh
attempt "disk" sh -c 'mknod /tmp/disk b 8 0 && head -c 16 /tmp/disk'
attempt "memory" sh -c 'mknod /tmp/mem c 1 1 && head -c 16 /tmp/mem'
attempt "mount" sh -c 'mkdir -p /m && mount -t proc none /m && cat "/m/1/root$HOST_FILE"'
attempt "other root" sh -c 'chroot /proc/1/root cat "$HOST_FILE"'
attempt "file" cat "$HOST_FILE"
attempt "core pattern" into /proc/sys/kernel/core_pattern "|/evil"
attempt "clock" date -s 2001-01-01
attempt "host name" hostname evil
attempt "init" sh -c 'kill -9 1; sleep 0.2; cat /proc/1/environ'
