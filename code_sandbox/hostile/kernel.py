"""Programs that knock at doors of the kernel which a computation does not need."""

from code_sandbox.hostile.attack import Attack

ATTACKS = (
    Attack(
        name="io_uring",
        source="""
must_be_denied("setup", 425, 1, 0)
must_be_denied("enter", 426, 0, 0, 0, 0, 0, 0)
must_be_denied("register", 427, 0, 0, 0, 0)
""",
    ),
    Attack(name="userfaultfd", source='must_be_denied("userfaultfd", 323, 1)'),
    Attack(
        name="keyrings",
        source="""
must_be_denied("add_key", 248, b"user", b"attack", b"x", 1, -3)
must_be_denied("request_key", 249, b"user", b"attack", 0, -3)
must_be_denied("keyctl", 250, 0, -3, 1)
""",
    ),
    Attack(name="bpf", source='must_be_denied("bpf", 321, 0, 0, 0)'),
    Attack(name="perf_event_open", source='must_be_denied("perf", 298, 0, 0, -1, -1, 0)'),
    Attack(
        name="asynchronous input and output of old",
        source='must_be_denied("io_setup", 206, 1, 0)',
    ),
    Attack(
        name="modules and kernels",
        source="""
must_be_denied("init_module", 175, 0, 0, b"")
must_be_denied("finit_module", 313, -1, b"", 0)
must_be_denied("delete_module", 176, b"none", 0)
must_be_denied("kexec_load", 246, 0, 0, 0, 0)
""",
    ),
    Attack(
        name="the host: reboot, clock, name, swap, accounting, quota",
        source="""
must_be_denied("reboot", 169, 0, 0, 0, 0)
must_be_denied("settimeofday", 164, 0, 1)
must_be_denied("clock_settime", 227, 99, 0)
must_be_denied("adjtimex", 159, 0)
must_be_denied("sethostname", 170, 0, -1)
must_be_denied("swapon", 167, 0, 0)
must_be_denied("acct", 163, 1)
must_be_denied("quotactl", 179, -1, 0, 0, 0)
must_be_denied("vhangup", 153)
must_be_denied("syslog", 103, 99, 0, 0)
""",
    ),
    Attack(
        name="ports, segments, personality",
        source="""
must_be_denied("iopl", 172, 0)
must_be_denied("ioperm", 173, 0, 0, 0)
must_be_denied("modify_ldt", 154, 0, 0, 0)
must_be_denied("personality", 135, 0x0040000)
""",
    ),
    Attack(
        name="descriptors of events, signals, timers",
        source="""
attempt("eventfd", os.eventfd, 0)
attempt("timerfd", system_call, 283, 0, 0)
attempt("signalfd", system_call, 289, -1, 0, 0, 0)
attempt("epoll", lambda: __import__("select").epoll())
must_be_denied("queue of the kernel's news", 293, 0, 0x80)
attempt("timer_create", system_call, 222, 0, 0, 0)
""",
    ),
    Attack(
        name="memory: locked, moved, of another kind",
        source="""
attempt("mlockall", system_call, 151, 1)
attempt("mlock", system_call, 149, 0, 4096)
must_be_denied("mbind", 237, 0, 0, 0, 0, 0, 0)
must_be_denied("migrate_pages", 256, 0, 0, 0, 0)
must_be_denied("remap_file_pages", 216, 0, 0, 0, 0, 0)
must_be_denied("pkey_alloc", 330, 0, 0)
""",
    ),
    Attack(
        name="ioctl: put characters into the terminal, and others",
        source="""
import ctypes
byte = ctypes.create_string_buffer(b"x")
must_be_denied("TIOCSTI", 16, 0, 0x5412, byte)
must_be_denied("TIOCLINUX", 16, 0, 0x541C, byte)
must_be_denied("TIOCSCTTY", 16, 0, 0x540E, 0)
must_be_denied("FIOASYNC", 16, 1, 0x5452, byte)
must_be_denied("FS_IOC_SETFLAGS", 16, 0, 0x40086602, byte)
must_be_denied("seccomp listener", 16, 1, 0xC0502100, byte)
""",
    ),
    Attack(
        name="security modules and landlock, to weaken them",
        source="""
must_be_denied("landlock_create_ruleset", 444, 0, 0, 1)
must_be_denied("lsm_set_self_attr", 460, 0, 0, 0, 0)
""",
    ),
    Attack(
        name="every number from 0 to 600 that is not for computing",
        source="""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
open_doors = []
# the rest are those that a program may use: asked for here with arguments that do nothing, some would end the run
usable = {0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 20, 23, 24, 25, 28, 32, 33, 35, 36, 37, 38, 39, 60, 63, 79,
          96, 97, 98, 99, 100, 102, 104, 107, 108, 110, 131, 158, 160, 186, 201, 202, 204, 217, 218, 219, 221, 228, 229, 230,
          231, 270, 271, 273, 292, 318, 324, 334, 436, 4, 6, 21, 89, 262, 267, 269, 332, 439, 22}
for number in range(601):
    if number in usable or number in (335, 336):  # uretprobe, uprobe: no filter is asked; who calls them is killed
        continue
    ctypes.set_errno(0)
    minus = ctypes.c_long(-1)
    result = libc.syscall(ctypes.c_long(number), minus, minus, minus, minus, minus, minus)
    if result >= 0 or ctypes.get_errno() not in (1, 38):
        open_doors.append(number)
print("BREACH" if open_doors else "refused", open_doors)
""",
    ),
)
