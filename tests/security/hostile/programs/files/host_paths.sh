# Tries to read a file of the host, to link to it and to walk up to it, with the shell and its programs.
# gvisor, microvm: denied
. ./attempt.sh
attempt "file" cat "$HOST_FILE"
attempt "above" cat "/work/../../../../../../..$HOST_FILE"
attempt "hard link" ln "$HOST_FILE" /tmp/hard
ln -s "$HOST_FILE" /tmp/soft
attempt "soft link" cat /tmp/soft
attempt "copy" cp -r "$HOST_FOLDER" /tmp/copy
attempt "tar" tar -C / -cf /tmp/all.tar ".$HOST_FOLDER"
attempt "find" grep -rl canary /tmp/copy /mnt /media /srv /opt /home /root
