// Tries, as a runtime that is wholly taken over, every system call that ever led out of a container.
// jail: denied
import { attempt } from "./attempt.mjs"
import { bytes, syscall } from "./jail.mjs"

const CALLS = {
  io_uring_setup: [425, 8, bytes("", 120)], io_uring_enter: [426, 0, 1, 1], bpf: [321, 5, bytes("", 128), 128],
  perf_event_open: [298, bytes("", 128), 0, -1, -1, 0], userfaultfd: [323, 0], add_key: [248, bytes("user"), bytes("a"), bytes("b"), 1, -4],
  request_key: [249, bytes("user"), bytes("a"), 0, 0], keyctl: [250, 0, -4, 0], ptrace: [101, 0], process_vm_readv: [310, 1, 0, 0, 0, 0],
  process_vm_writev: [311, 1, 0, 0, 0, 0], kcmp: [312, 1, 1, 0], pidfd_open: [434, 1, 0], pidfd_getfd: [438, 3, 0, 0],
  init_module: [175, bytes("", 64), 64, bytes("")], finit_module: [313, 0, bytes(""), 0], delete_module: [176, bytes("kvm"), 0],
  kexec_load: [246], kexec_file_load: [320, 0, 0, 0, bytes(""), 0], reboot: [169, 0xfee1dead, 672274793, 0x1234567],
  swapon: [167, bytes("/tmp/x"), 0], acct: [163, bytes("/tmp/x")], iopl: [172, 3], ioperm: [173, 0x80, 1, 1], syslog: [103, 3, bytes("", 64), 64],
  clock_settime: [227, 0, bytes("", 16)], settimeofday: [164, bytes("", 16), 0], adjtimex: [159, bytes("", 256)], sethostname: [170, bytes("x"), 1],
  quotactl: [179, 0, bytes("/"), 0, 0], open_by_handle_at: [304, 3, bytes("", 64), 0], name_to_handle_at: [303, -100, bytes("/"), bytes("", 64), bytes("", 8), 0],
  fanotify_init: [300, 0, 0], inotify_init1: [294, 0], mq_open: [240, bytes("q"), 66, 0o666, 0], shmget: [29, 1, 4096, 0o1666], msgget: [68, 1, 0o1666],
  semget: [64, 1, 1, 0o1666], personality: [135, 0x0040000], modify_ldt: [154, 0, bytes("", 64), 64], seccomp_listener: [317, 1, 8, bytes("", 16)],
  memfd_secret: [447, 0], landlock: [444, 0, 0, 1], mbind: [237], move_pages: [279, 1], set_mempolicy: [238, 0, 0, 0], vmsplice: [278, 1, 0, 0, 0],
  splice: [275, 0, 0, 1, 0, 1, 0], process_madvise: [440, 0, 0, 0, 0, 0], sched_setscheduler: [144, 0, 1, bytes("\x01", 4)], ioprio_set: [251, 1, 0, 8192],
  uselib: [134, bytes("/lib/x")], remap_file_pages: [216, 0, 0, 0, 0, 0], timer_create: [222, 1, 0, bytes("", 8)],
}
for (const [name, [number, ...rest]] of Object.entries(CALLS)) await attempt(name, () => syscall(number, ...rest))
