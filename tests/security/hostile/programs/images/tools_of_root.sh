# Tries, as root of its own image, to change what other sandboxes share with it: the agent, and its own image.
# gvisor: denied or own or exit_nonzero
. ./attempt.sh
attempt "agent" into /caisson/agent evil
attempt "harness" into /caisson/python.py evil
attempt "writable" mount -o remount,rw /caisson
attempt "its image" into /bin/evil "$MARK"
attempt "its shell" sh -c 'cp /bin/busybox /tmp/b; echo >/bin/busybox'
