# Tries to make whoever reads its output wait for ever: it is a pipe that nobody writes to.
# gvisor, microvm: exception
mkfifo "$CAISSON_OUTPUT"
