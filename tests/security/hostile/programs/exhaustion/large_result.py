# Tries to choke the server with its result: larger than it may put out.
# With: max_output_bytes=1000000, mem_mb=128
# gvisor, microvm: output_limit
def handler(input):
    return "x" * 5_000_000
