"""Programs that read, write, or leave something behind, in files or in what else outlives a process."""

from code_sandbox.hostile.attack import Attack

ATTACKS = (
    Attack(
        name="read: a file beside the run",
        source='attempt("open", lambda: open("@SECRET_FILE@").read())',
        control=True,
    ),
    Attack(
        name="read: /etc/passwd",
        source='attempt("open", lambda: open("/etc/passwd").read())',
        control=True,
    ),
    Attack(
        name="read: through symbolic links that are there",
        source="""
attempt("link", lambda: open("@FOLDER@/link").read())
attempt("/proc/self/root", lambda: open("/proc/self/root@SECRET_FILE@").read())
attempt("/proc/self/cwd", lambda: os.listdir("/proc/self/cwd/"))
""",
        control=True,
    ),
    Attack(
        name="read: relative paths out of a readable folder",
        source='attempt("open", lambda: open(os.path.dirname(os.__file__) + "/../../../../../../../../..@SECRET_FILE@").read())',
        control=True,
    ),
    Attack(
        name="read: a folder opened as a path first",
        source="""
def read():
    folder = os.open("@FOLDER@", os.O_PATH)
    return os.read(os.open("secret.txt", os.O_RDONLY, dir_fd=folder), 100)
attempt("openat", read)
""",
        control=True,
    ),
    Attack(
        name="read: listings of folders",
        source="""
for folder in ("/", "/proc", "/etc", "@FOLDER@", "/dev/shm", "/tmp", "."):
    attempt(folder, os.listdir, folder)
attempt("glob", lambda: __import__("glob").glob("@FOLDER@/*")[0])
""",
        control=True,
    ),
    Attack(
        name="read: openat2, whose flags no filter sees",
        source="""
import ctypes
how = (ctypes.c_uint64 * 3)(0, 0, 0)
attempt("openat2", system_call, 437, -100, b"@SECRET_FILE@", ctypes.byref(how), 24)
""",
        control=True,
    ),
    Attack(
        name="read: mounts and handles",
        source="""
must_be_denied("name_to_handle_at", 303, -100, b"@SECRET_FILE@", 0, 0, 0)
must_be_denied("open_by_handle_at", 304, -1, 0, 0)
must_be_denied("open_tree", 428, -1, b"", 0)
must_be_denied("fsopen", 430, 0, 0)
must_be_denied("move_mount", 429, -1, 0, -1, 0, 0)
must_be_denied("mount_setattr", 442, -1, 0, 0, 0, 0)
""",
    ),
    Attack(
        name="read: site-packages of the interpreter",
        source="""
import glob
folders = {os.path.dirname(os.__file__) + "/site-packages", "@FOLDER@"}
for folder in folders:
    for root, names, files in os.walk(folder):
        for name in files[:1]:
            attempt("package", lambda: open(os.path.join(root, name), "rb").read(1))
print("refused: no file could be read")
""",
    ),
    Attack(
        name="read: block devices, kernel logs, terminals",
        source="""
for path in ("/dev/kmsg", "/dev/mem", "/dev/tty", "/dev/fuse", "/dev/kvm", "/dev/ptmx", "/dev/nvidiactl", "/dev/vda", "/dev/sda"):
    attempt(path, lambda: os.open(path, os.O_RDONLY))
""",
    ),
    Attack(
        name="write: a new file",
        source='attempt("open", lambda: open("@FOLDER@/new", "w").write("x"))',
        control=True,
    ),
    Attack(
        name="write: an old file",
        source="""
attempt("append", lambda: open("@FOLDER@/keep.txt", "a").write("x"))
attempt("in place", lambda: open("@FOLDER@/keep.txt", "r+").write("x"))
attempt("os.open", lambda: os.write(os.open("@FOLDER@/keep.txt", os.O_WRONLY), b"x"))
""",
        control=True,
    ),
    Attack(
        name="write: truncate by path and by opening",
        source="""
attempt("os.truncate", os.truncate, "@FOLDER@/keep.txt", 1)
attempt("O_TRUNC for reading", lambda: os.open("@FOLDER@/keep.txt", os.O_RDONLY | os.O_TRUNC))
attempt("creat", system_call, 85, b"@FOLDER@/keep.txt", 0o644)
""",
        control=True,
    ),
    Attack(
        name="write: remove, rename, link",
        source="""
attempt("unlink", os.unlink, "@FOLDER@/keep.txt")
attempt("rename", os.rename, "@FOLDER@/keep.txt", "@FOLDER@/gone.txt")
attempt("symlink", os.symlink, "/etc/passwd", "@FOLDER@/symbolic")
attempt("link", os.link, "@SECRET_FILE@", "@FOLDER@/hard")
attempt("rmdir", os.rmdir, "@FOLDER@/empty")
""",
        control=True,
    ),
    Attack(
        name="write: folders and special files",
        source="""
attempt("mkdir", os.mkdir, "@FOLDER@/made")
attempt("mkfifo", os.mkfifo, "@FOLDER@/fifo")
attempt("mknod", os.mknod, "@FOLDER@/node")
""",
        control=True,
    ),
    Attack(
        name="write: modes, owners, times, attributes",
        source="""
attempt("chmod", os.chmod, "@FOLDER@/keep.txt", 0o777)
attempt("fchmod", lambda: os.fchmod(os.open("@FOLDER@/keep.txt", os.O_RDONLY), 0o777))
attempt("chown", os.chown, "@FOLDER@/keep.txt", os.getuid(), os.getgid())
attempt("utime", os.utime, "@FOLDER@/keep.txt", (0, 0))
attempt("setxattr", os.setxattr, "@FOLDER@/keep.txt", "user.mark", b"x")
attempt("fchmodat2", system_call, 452, -100, b"@FOLDER@/keep.txt", 0o777, 0)
""",
        control=True,
    ),
    Attack(
        name="write: temporary files",
        source="""
import tempfile
attempt("TemporaryFile", lambda: tempfile.TemporaryFile().write(b"x"))
attempt("mkdtemp", lambda: tempfile.mkdtemp(prefix="code-sandbox-attack-"))
attempt("O_TMPFILE", lambda: os.open("@FOLDER@", os.O_TMPFILE | os.O_RDWR))
""",
    ),
    Attack(
        name="write: a data base",
        source="""
import sqlite3
attempt("sqlite3", lambda: sqlite3.connect("@FOLDER@/data.db").execute("create table t (x)"))
""",
        control=True,
    ),
    Attack(
        name="write: the interpreter's library",
        source="""
attempt("module", lambda: open(os.path.dirname(os.__file__) + "/code_sandbox_attack.py", "w"))
attempt("cache", lambda: os.mkdir(os.path.dirname(os.__file__) + "/code_sandbox_attack"))
""",
    ),
    Attack(
        name="write: settings of itself in /proc",
        source="""
for name in ("oom_score_adj", "comm", "coredump_filter", "clear_refs", "timerslack_ns"):
    attempt(name, lambda: open(f"/proc/self/{name}", "r+").write("0"))
""",
    ),
    Attack(
        name="write: its own input, which other runs may get",
        source="""
attempt("write", os.write, 0, b"x")
attempt("pwrite", os.pwrite, 0, b"x", 0)
attempt("truncate", os.ftruncate, 0, 0)
attempt("reopen", lambda: os.open("/proc/self/fd/0", os.O_RDWR))
attempt("/dev/stdin", lambda: open("/dev/stdin", "w"))
attempt("chmod", os.fchmod, 0, 0o777)
attempt("shared mapping", lambda: __import__("mmap").mmap(0, 1))
""",
    ),
    Attack(
        name="leave: shared memory by file",
        source="""
attempt("/dev/shm", lambda: open("/dev/shm/code-sandbox-attack", "w").write("x"))
def shared():
    from multiprocessing.shared_memory import SharedMemory
    return SharedMemory(name="code-sandbox-attack", create=True, size=10)
attempt("SharedMemory", shared)
""",
    ),
    Attack(
        name="leave: System V memory, queues, semaphores",
        source="""
attempt("shmget", system_call, 29, 0x5EC4E7, 4096, 0o1600)
attempt("msgget", system_call, 68, 0x5EC4E7, 0o1600)
attempt("semget", system_call, 64, 0x5EC4E7, 1, 0o1600)
""",
    ),
    Attack(
        name="leave: POSIX queues and semaphores",
        source="""
attempt("mq_open", system_call, 240, b"code-sandbox-attack", 0o102, 0o600, 0)
def semaphore():
    import _multiprocessing
    return _multiprocessing.SemLock(0, 1, 1, "/code-sandbox-attack", False)
attempt("sem_open", semaphore)
""",
    ),
    Attack(
        name="leave: memory files",
        source="""
attempt("memfd_create", os.memfd_create, "attack")
attempt("memfd_secret", system_call, 447, 0)
""",
    ),
    Attack(
        name="leave: locks on shared files",
        source="""
import fcntl
attempt("flock", fcntl.flock, 0, fcntl.LOCK_EX)
attempt("lockf", fcntl.lockf, 0, fcntl.LOCK_SH)
attempt("lease", fcntl.fcntl, 0, 1024, 0)
attempt("notify", fcntl.fcntl, 0, 1026, 1)
attempt("owner of signals", fcntl.fcntl, 0, 8, 1)
attempt("larger pipe", fcntl.fcntl, 1, 1031, 1 << 20)
attempt("seals", fcntl.fcntl, 0, 1033, 15)
""",
    ),
    Attack(
        name="watch: inotify, fanotify",
        source="""
attempt("inotify", system_call, 294, 0)
must_be_denied("fanotify", 300, 0, 0)
""",
    ),
    Attack(
        name="move: working folder and root",
        source="""
attempt("chdir", os.chdir, "@FOLDER@")
attempt("fchdir", os.fchdir, 0)
must_be_denied("chroot", 161, b"@FOLDER@")
must_be_denied("pivot_root", 155, b"@FOLDER@", b"@FOLDER@")
""",
    ),
    Attack(
        name="copy: between descriptors inside the kernel",
        source="""
attempt("sendfile", system_call, 40, 1, 0, 0, 1)
attempt("splice", system_call, 275, 0, 0, 1, 0, 1, 0)
attempt("copy_file_range", system_call, 326, 0, 0, 1, 0, 1, 0)
attempt("vmsplice", system_call, 278, 1, 0, 0, 0)
attempt("tee", system_call, 276, 1, 1, 1, 0)
""",
    ),
    Attack(
        name="disk: force everything to it",
        source="""
must_be_denied("sync", 162)
must_be_denied("syncfs", 306, 0)
must_be_denied("fallocate", 285, 1, 0, 0, 1)
""",
    ),
)
