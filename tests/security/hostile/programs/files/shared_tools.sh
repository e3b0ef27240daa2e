# Tries to change what every sandbox shares: the agent and the harnesses in /caisson, and the programs of the image.
# gvisor, microvm: denied
. ./attempt.sh
for path in /caisson/agent /caisson/python.py /usr/bin/env /usr/lib/os-release /etc/passwd /etc/ld.so.preload; do
    attempt "change $path" into "$path" evil
    attempt "rename $path" mv "$path" "$path.old"
done
attempt "add a program" cp /bin/true /usr/local/bin/python3
attempt "add to /caisson" touch /caisson/evil
attempt "mode" chmod u+s /usr/bin/env
