# Tries to reach the host's devices, firmware and control groups through /sys.
# gvisor: denied
# microvm: denied or own
. ./attempt.sh
attempt "uevent helper" into /sys/kernel/uevent_helper "$HOST_FOLDER/evil"
attempt "release agent" into /sys/fs/cgroup/release_agent "$HOST_FOLDER/evil"
for group in memory devices cpu pids unified; do
    attempt "release agent of $group" into "/sys/fs/cgroup/$group/release_agent" "$HOST_FOLDER/evil"
done
attempt "new group" mkdir /sys/fs/cgroup/evil
attempt "firmware" ls /sys/firmware/efi/efivars
attempt "debug" ls /sys/kernel/debug/tracing
attempt "power" into /sys/power/state mem
attempt "block devices" sh -c 'head -c 1 /sys/block/*/size'
attempt "cpu off" into /sys/devices/system/cpu/cpu1/online 0
attempt "modules" sh -c 'ls -d /sys/module/kvm/parameters'
