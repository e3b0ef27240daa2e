# Tries to take over the agent, the first process: by signals, by its descriptors, by its memory.
# gvisor, microvm: denied
. ./attempt.sh
for signal in KILL STOP TERM SEGV HUP; do
    attempt "$signal" kill -$signal 1
done
attempt "descriptor 0" cat /proc/1/fd/0
attempt "descriptor 1" into /proc/1/fd/1 x
for fd in 3 4 5 6 7 8; do
    case $(readlink /proc/1/fd/$fd) in
    "" | /dev/null) ;;
    *) attempt "descriptor $fd" into /proc/1/fd/$fd x ;;
    esac
done
attempt "memory" head -c 1 /proc/1/mem
attempt "limits" prlimit --pid 1 --nofile=3
