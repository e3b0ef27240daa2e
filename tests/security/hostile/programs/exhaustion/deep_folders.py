# Tries to make its own removal fail: folders nested deeper than any path may be long, and names of every byte.
# gvisor, microvm: own
import os

for _ in range(3000):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
for byte in range(1, 256):
    if byte != ord("/"):
        os.makedirs(b"/tmp/" + bytes([byte]) * 200, exist_ok=True)
print("got them: made")
