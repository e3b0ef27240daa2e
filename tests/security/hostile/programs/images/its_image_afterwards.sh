# Looks in a new sandbox of the same image for what another one changed in it.
# gvisor: denied
. ./attempt.sh
attempt "left" cat /bin/evil
attempt "in tmp" cat /tmp/b
attempt "file" cat "$HOST_FILE"
