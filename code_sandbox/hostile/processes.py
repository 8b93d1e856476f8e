"""Programs that start, signal, trace or limit processes."""

from code_sandbox.hostile.attack import Attack

ATTACKS = (
    Attack(name="fork", source='attempt("fork", os.fork)', control=True),
    Attack(
        name="fork bomb (of 40)",
        source="""
made = 0
for number in range(40):
    try:
        if os.fork() == 0:
            import time
            time.sleep(3)
            os._exit(0)
        made += 1
    except OSError:
        pass
print("BREACH" if made else "refused", made)
""",
    ),
    Attack(
        name="fork by other doors: vfork, clone, clone3",
        source="""
import ctypes
attempt("forkpty", os.forkpty)
attempt("clone", system_call, 56, 17, 0, 0, 0, 0)
attempt("clone with CLONE_VM", system_call, 56, 0x100 | 17, 0, 0, 0, 0)
attempt("clone with a name space", system_call, 56, 0x10000000 | 17, 0, 0, 0, 0)
attempt("clone of a thread with a name space", system_call, 56, 0x10000 | 0x800 | 0x100 | 0x40000000, 0, 0, 0, 0)
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
attempt("clone3", system_call, 435, ctypes.byref(arguments), 88)
must_be_denied("vfork", 58)
""",
    ),
    Attack(
        name="subprocess",
        source="""
import subprocess
attempt("run", lambda: subprocess.run(["/bin/true"], check=True))
attempt("shell", lambda: subprocess.check_output("id", shell=True))
attempt("python", lambda: subprocess.check_output([sys.executable, "-c", "print(1)"]))
""",
        control=True,
    ),
    Attack(
        name="os.system and os.popen",
        source="""
print("BREACH" if os.system("exit 0") == 0 else "refused")
attempt("popen", lambda: os.popen("echo hello").read())
""",
        control=True,
    ),
    Attack(
        name="posix_spawn",
        source='attempt("posix_spawn", os.posix_spawn, "/bin/true", ["true"], {})',
        control=True,
    ),
    Attack(
        name="multiprocessing",
        source="""
import multiprocessing
def start():
    process = multiprocessing.get_context("fork").Process(target=print)
    process.start()
    process.join()
attempt("fork", start)
attempt("pool", lambda: multiprocessing.get_context("fork").Pool(1).map(abs, [1]))
""",
    ),
    Attack(
        name="exec",
        source="""
sys.stdout.flush()
attempt("execv", os.execv, "/bin/echo", ["echo", "BREACH"])
attempt("execveat", system_call, 322, -100, b"/bin/true", 0, 0, 0)
""",
        control=True,
    ),
    Attack(
        name="kill the parent",
        source='attempt("kill", os.kill, os.getppid(), 9)',
    ),
    Attack(
        name="kill the owner, a neighbour, everybody",
        source="""
attempt("neighbour", os.kill, @VICTIM@, 9)
attempt("owner", os.kill, @OWNER@, 0)
attempt("everybody", os.kill, -1, 0)
attempt("group", os.killpg, os.getpgid(0) if hasattr(os, "getpgid") else 0, 0)
attempt("init", os.kill, 1, 0)
""",
    ),
    Attack(
        name="signal a neighbour by other doors",
        source="""
attempt("tkill", system_call, 200, @VICTIM@, 9)
attempt("tgkill", system_call, 234, @VICTIM@, @VICTIM@, 9)
attempt("tgkill of the parent", system_call, 234, os.getppid(), os.getppid(), 9)
import ctypes
information = (ctypes.c_int * 32)(9, 0, -1)
attempt("rt_sigqueueinfo", system_call, 129, @VICTIM@, 9, information)
attempt("rt_tgsigqueueinfo", system_call, 297, @VICTIM@, @VICTIM@, 9, information)
def by_descriptor():
    import signal
    signal.pidfd_send_signal(os.pidfd_open(@VICTIM@), 9)
attempt("pidfd", by_descriptor)
must_be_denied("pidfd_getfd", 438, 0, 0, 0)
must_be_denied("process_mrelease", 448, 0, 0)
must_be_denied("process_madvise", 440, 0, 0, 0, 0, 0)
""",
    ),
    Attack(
        name="ptrace",
        source="""
attempt("the parent", system_call, 101, 16, os.getppid(), 0, 0)
attempt("a neighbour", system_call, 101, 0x4206, @VICTIM@, 0, 0)
attempt("traceme", system_call, 101, 0, 0, 0, 0)
must_be_denied("process_vm_writev", 311, @VICTIM@, 0, 0, 0, 0, 0)
must_be_denied("kcmp", 312, os.getpid(), @VICTIM@, 0, 0, 0)
""",
    ),
    Attack(
        name="limits of another process, by pid",
        source="""
import resource
attempt("reading them", resource.prlimit, @VICTIM@, resource.RLIMIT_CPU)
attempt("prlimit", resource.prlimit, @VICTIM@, resource.RLIMIT_CPU, (1, 1))
""",
        control=True,
    ),
    Attack(
        name="limits of its parent, which would die of them",
        source="""
import resource
attempt("prlimit", resource.prlimit, os.getppid(), resource.RLIMIT_CPU, (1, 1))
""",
    ),
    Attack(
        name="limits of another process, by a pointer whose low half is zero",
        source="""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
where = libc.mmap(ctypes.c_void_p(1 << 32), ctypes.c_size_t(4096), 3, 0x100022, -1, ctypes.c_long(0))
print("mapped at", where)
ctypes.memmove(1 << 32, (ctypes.c_uint64 * 2)(1, 1), 16)
attempt("prlimit64", system_call, 302, @VICTIM@, 0, 1 << 32, 0)
attempt("prlimit64 of the parent", system_call, 302, os.getppid(), 0, 1 << 32, 0)
""",
    ),
    Attack(
        name="priorities and processors, also of others",
        source="""
attempt("nice", os.nice, 1)
attempt("setpriority", os.setpriority, os.PRIO_PROCESS, @VICTIM@, 10)
attempt("sched_setaffinity", os.sched_setaffinity, @VICTIM@, {0})
attempt("own affinity", os.sched_setaffinity, 0, {0})
attempt("sched_setscheduler", os.sched_setscheduler, @VICTIM@, os.SCHED_IDLE, os.sched_param(0))
attempt("ioprio_set", system_call, 251, 1, @VICTIM@, 0)
""",
    ),
    Attack(
        name="sessions and groups",
        source="""
attempt("setsid", os.setsid)
attempt("setpgid", os.setpgid, 0, 0)
must_be_denied("setuid", 105, 0)
must_be_denied("setresuid", 117, 0, 0, 0)
must_be_denied("setgroups", 116, 0, 0)
must_be_denied("capset", 126, 0, 0)
""",
    ),
    Attack(
        name="name spaces",
        source="""
must_be_denied("unshare user", 272, 0x10000000)
must_be_denied("unshare files", 272, 0x400)
must_be_denied("setns", 308, 0, 0)
must_be_denied("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0)
must_be_denied("umount2", 166, b"/tmp", 0)
""",
    ),
    Attack(
        name="outlive the parent: prctl",
        source="""
attempt("no signal at its death", system_call, 157, 1, 0, 0, 0, 0)
attempt("dumpable", system_call, 157, 4, 1, 0, 0, 0)
attempt("subreaper", system_call, 157, 36, 1, 0, 0, 0)
attempt("another filter", system_call, 157, 22, 1, 0, 0, 0)
must_be_denied("seccomp", 317, 1, 0, 0)
""",
    ),
    Attack(
        name="daemon",
        source="""
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import time
            time.sleep(3)
        os._exit(0)
    return "started"
attempt("daemon", daemon)
""",
        control=True,
    ),
    Attack(
        name="look at processes",
        source="""
attempt("/proc/1/status", lambda: open("/proc/1/status").read())
attempt("neighbour", lambda: open("/proc/@VICTIM@/status").read())
attempt("own", lambda: open("/proc/self/status").read())
attempt("the program of a neighbour", os.readlink, "/proc/@VICTIM@/exe")
""",
        control=True,
    ),
)
