# Tries to have the server read a file of the host for it: its output is a link there.
# gvisor, microvm: exception
import os

os.symlink(os.environ["HOST_FILE"], os.environ["CAISSON_OUTPUT"])
