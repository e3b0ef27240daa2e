# Tries to choke the server with its result: nested ten thousand deep.
# gvisor, microvm: denied or exception or completed
def handler(input):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    return deep
