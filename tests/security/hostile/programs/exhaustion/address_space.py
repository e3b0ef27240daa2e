# Tries to use up address space and page tables: mappings by the hundred thousand, each with one page in use.
# With: mem_mb=64, timeout_s=60
# gvisor, microvm: bounded 4000000 or out_of_memory
import mmap

from attempt import how_many

held = []


def take():
    held.append(mmap.mmap(-1, 1 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    held[-1][0] = 1


how_many("mappings", take, 300_000)
