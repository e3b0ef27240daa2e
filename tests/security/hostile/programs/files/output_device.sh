# Tries to make whoever reads its output read without end: it is a link to /dev/zero.
# gvisor, microvm: exception
ln -s /dev/zero "$CAISSON_OUTPUT"
