"""Lets hostile programs in Python say what they got and what was denied, and make any system call by its number."""

import ctypes
import errno
import os
import threading

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def attempt(name, what):
    """Do it; say `got` with what came of it, or `denied` with the reason."""
    try:
        value = what()
    except OSError as error:
        print(f"denied {name}: {errno.errorcode.get(error.errno, error)}", flush=True)
        return None
    except Exception as error:
        print(f"denied {name}: {type(error).__name__}", flush=True)
        return None
    print(f"got {name}: {str(value)[:300]!r}", flush=True)
    return value


def syscall(number, *arguments):
    """System call `number` (x86-64); raises OSError."""
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    value = _libc.syscall(ctypes.c_long(number), *passed)
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value


def read(path):
    """The first bytes of a file. Bytes: what is found may be anything."""
    with open(path, "rb") as file:
        return file.read(4096) or empty()


def empty():
    """What has nothing in it is nothing got."""
    raise OSError(errno.ENODATA, "empty")


def write(path, text):
    """Write to a file that is there already or can be made."""
    with open(path, "w") as file:
        file.write(text)
    return path


def at_once(attempts):
    """Many attempts, by their names, at the same time: what does not answer takes its time only once."""
    attempts = [threading.Thread(target=attempt, args=each) for each in attempts.items()]
    for each in attempts:
        each.start()
    for each in attempts:
        each.join()


def how_many(name, take, most=1_000_000):
    """Take one after the other until one is denied; say how many there were."""
    count = 0
    try:
        while count < most:
            take()
            count += 1
    except (OSError, MemoryError, RuntimeError) as error:
        print(f"bounded {name}: {count} until {type(error).__name__}", flush=True)
        return
    print(f"bounded {name}: {count} without end", flush=True)
