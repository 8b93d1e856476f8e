"""Programs that use too much: memory, time, threads, descriptors, output."""

from code_sandbox.hostile.attack import Attack

TIME = ("time", "cpu")
MEMORY = ("error", "killed")

ATTACKS = (
    Attack(name="loop without end", source="while True: pass", ending="limit", statuses=TIME),
    Attack(
        name="sleep",
        source="import time; time.sleep(10 ** 6)",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="sleep by other means",
        source="""
import select, threading
sys.stdout.flush()
event = threading.Event()
threading.Timer(10 ** 6, event.set).start()
select.select([], [], [], 10 ** 5)
""",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="loop that ignores every signal",
        source="""
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass
""",
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="one long computation in C",
        source="x = 3 ** (10 ** 9)",
        ending="limit",
        statuses=(*TIME, *MEMORY),
    ),
    Attack(
        name="regular expression that backtracks",
        source='import re; re.match("(a+)+$", "a" * 64 + "b")',
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="stop itself",
        source="import signal; signal.raise_signal(signal.SIGSTOP)",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="close its output and go on",
        source="os.close(1); os.close(2)\nwhile True: pass",
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="wait for input that never comes",
        source="""
reader, writer = os.pipe()
os.read(reader, 1)
""",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="deadlock",
        source="import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="the signal that its processor time is used up, ignored",
        source="""
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True: pass
""",
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="processor time in many threads",
        source="""
import threading, hashlib
def burn():
    while True:
        hashlib.sha256(b"x" * 10 ** 6).digest()
for _ in range(8):
    threading.Thread(target=burn).start()
""",
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="a thread that never ends, after the program",
        source="""
import threading
threading.Thread(target=threading.Event().wait).start()
""",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="a loop at the exit",
        source="""
import atexit
@atexit.register
def forever():
    while True: pass
""",
        ending="limit",
        statuses=TIME,
    ),
    Attack(
        name="exit that does not: os._exit replaced",
        source="""
import time
os._exit = sys.exit = lambda *arguments: time.sleep(10 ** 6)
""",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="raise its limits",
        source="""
import resource
for name in ("AS", "CPU", "FSIZE", "NOFILE", "CORE", "MEMLOCK"):
    number = getattr(resource, "RLIMIT_" + name)
    attempt(name, resource.setrlimit, number, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
""",
    ),
    Attack(
        name="memory: 10 GB at once",
        source='attempt("bytearray", lambda: len(bytearray(10 * 2 ** 30)))',
    ),
    Attack(
        name="memory: piece by piece",
        source="pieces = []\nwhile True: pieces.append(bytearray(2 ** 20))",
        ending="limit",
        statuses=(*MEMORY, *TIME),
    ),
    Attack(
        name="memory: mappings",
        source="""
import mmap
maps = []
def fill():
    for _ in range(100):
        maps.append(mmap.mmap(-1, 2 ** 27))
attempt("12 GB of mappings", fill)
""",
    ),
    Attack(
        name="memory: doubling text",
        source='text = "x"\nwhile True: text += text',
        ending="limit",
        statuses=(*MEMORY, *TIME),
    ),
    Attack(
        name="descriptors until there are none",
        source="""
many = []
def fill():
    for _ in range(10 ** 5):
        many.extend(os.pipe())
attempt("pipes", fill)
print("refused after", len(many))
""",
    ),
    Attack(
        name="pipes filled to the brim",
        source="""
many = []
try:
    while True:
        many.append(os.pipe())
except OSError:
    pass
for reader, writer in many:
    os.write(writer, b"x" * 65536)
print("refused more than", len(many))
""",
        ending="harmless",
    ),
    Attack(
        name="threads until there are none",
        source="""
import threading
threading.stack_size(65536)
event, started = threading.Event(), 0
try:
    for _ in range(20000):
        threading.Thread(target=event.wait, daemon=True).start()
        started += 1
except BaseException as error:
    print(type(error).__name__, error)
print("BREACH" if started > 1000 else "refused more than", started)
sys.stdout.flush()
os._exit(1)
""",
    ),
    Attack(
        name="threads by bare system calls on one small stack",
        source="""
import ctypes, mmap
code = bytes.fromhex("48 c7 c0 22 00 00 00 0f 05 eb f5")  # loop: pause(), refused at once, so: spin
sleeper = bytes.fromhex("6a 00 68 00 10 00 00 48 89 e7 31 f6 b8 23 00 00 00 0f 05 58 58 eb ea")  # nanosleep(4096 s)
memory = mmap.mmap(-1, 65536, prot=7)
memory.write(sleeper)
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
# A new thread continues behind the system call with an empty stack: clone; test; jz sleeper; ret.
start = bytes.fromhex("48 c7 c0 38 00 00 00 4d 31 d2 4d 31 c0 0f 05 85 c0 74 01 c3") + b"\\x48\\xb8" + base.to_bytes(8, "little") + b"\\xff\\xe0"
memory.seek(4096)
memory.write(start)
clone = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_long)(base + 4096)
flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000
started = 0
while started < 20000 and clone(flags, base + 60000) > 0:
    started += 1
print("BREACH" if started > 1000 else "refused more than", started)
sys.stdout.flush()
os._exit(1)
""",
    ),
    Attack(
        name="output without end",
        source='while True: print("x" * 1000)',
        ending="limit",
        statuses=("output",),
    ),
    Attack(
        name="errors without end",
        source='while True: sys.stderr.write("x" * 1000)',
        ending="limit",
        statuses=("output",),
    ),
    Attack(
        name="output of 100 MB at once",
        source='sys.stdout.write("x" * 10 ** 8)',
        ending="limit",
        statuses=("output",),
    ),
    Attack(
        name="output by the bare descriptor",
        source='while True: os.write(1, b"x" * 65536)',
        ending="limit",
        statuses=("output",),
    ),
    Attack(
        name="result of 100 MB",
        source='def answer(n): return "x" * 10 ** 8',
        function="answer",
        ending="limit",
        statuses=("output", "error"),
    ),
    Attack(
        name="recursion without end",
        source="def f(): f()\nf()",
        ending="limit",
        statuses=("error",),
    ),
    Attack(
        name="recursion beyond the stack of C",
        source="""
sys.setrecursionlimit(10 ** 9)
class Deep:
    def __getattr__(self, name): return getattr(self, name + "x")
import functools
@functools.lru_cache(None)
def f(n): return f(n + 1)
f(0)
""",
        ending="limit",
        statuses=("killed", *MEMORY, *TIME),
    ),
    Attack(
        name="dump its core",
        source="os.abort()",
        ending="limit",
        statuses=("killed",),
    ),
    Attack(
        name="crash the interpreter",
        source="import ctypes; ctypes.string_at(0)",
        ending="limit",
        statuses=("killed",),
    ),
    Attack(
        name="jump into nowhere",
        source="import ctypes; ctypes.CFUNCTYPE(None)(12345)()",
        ending="limit",
        statuses=("killed",),
    ),
)
