# Tries to fill the server's disk with its log.
# With: max_output_bytes=1000000, timeout_s=60
# gvisor, microvm: output_limit
yes "the log is yours"
