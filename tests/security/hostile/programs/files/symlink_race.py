# Tries to win a race: a name in the work folder is a plain file and a link to a file of the host by turns.
# gvisor, microvm: denied
import os
import threading
import time

from attempt import attempt, empty

path, end = os.environ["HOST_FILE"], time.monotonic() + 0.7
with open("plain", "w") as file:
    file.write("plain")


def swap():
    turn = 0
    while time.monotonic() < end:
        turn += 1
        os.symlink(path if turn % 2 else "plain", "next")
        os.rename("next", "raced")


def look():
    while time.monotonic() < end:
        try:
            with open("raced") as file:
                if (text := file.read()) != "plain":
                    return text
        except OSError:
            continue
    return empty()


threading.Thread(target=swap).start()
attempt("race", look)
