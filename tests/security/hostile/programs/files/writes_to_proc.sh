# Tries to change the host's kernel through /proc: the core pattern, the module loader, the magic keys, the memory rules.
# gvisor, microvm: denied
. ./attempt.sh
attempt "core pattern" into /proc/sys/kernel/core_pattern "|$HOST_FOLDER/evil"
attempt "module loader" into /proc/sys/kernel/modprobe "$HOST_FOLDER/evil"
attempt "magic keys" into /proc/sysrq-trigger c
attempt "magic keys on" into /proc/sys/kernel/sysrq 1
attempt "overcommit" into /proc/sys/vm/overcommit_memory 1
attempt "panic" into /proc/sys/kernel/panic_on_oom 1
attempt "host name" into /proc/sys/kernel/hostname evil
attempt "binfmt" into /proc/sys/fs/binfmt_misc/register ":evil:M::evil::$HOST_FOLDER/evil:"
attempt "interrupts" into /proc/irq/0/smp_affinity 1
attempt "drop caches" into /proc/sys/vm/drop_caches 3
attempt "kcore" head -c 16 /proc/kcore
attempt "kmsg" timeout 1 head -c 16 /proc/kmsg
attempt "bus" into /proc/bus/pci/00/00.0 x
