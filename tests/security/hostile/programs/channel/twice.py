# Tries to give several results: a copy of the process answers as well.
# gvisor, microvm: completed or exception or sandbox_crashed
import os


def handler(input):
    os.fork()
    return "once"
