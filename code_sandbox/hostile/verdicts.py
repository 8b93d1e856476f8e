"""Programs that want to pass without the answer: forged messages, tricks of exit, equality and text, kept state."""

from code_sandbox.hostile.attack import Attack

_RESULT = "def answer(n):\n    "

ATTACKS = (
    Attack(name="exit at once with code 0", source="os._exit(0)", ending="harmless"),
    Attack(name="sys.exit(0)", source="sys.exit(0)", ending="harmless"),
    Attack(
        name="SystemExit of an odd kind",
        source='raise SystemExit(["passed"])',
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="says that it passed", source='print("passed True 1.0 [True] ok")', ending="harmless"
    ),
    Attack(
        name="forge the message of the sandbox on every descriptor",
        source="""
import json
message = json.dumps({"ended": 0, "passed": True, "status": "ok", "code": 0, "cpu_seconds": 0.0}).encode()
for number in range(300):
    for forged in (message, len(message).to_bytes(4, "little") + message, b"ended 0 0 0"):
        try:
            os.write(number, forged)
        except OSError:
            pass
""",
        ending="harmless",
    ),
    Attack(
        name="replace what the sandbox itself uses inside",
        source="""
import builtins, io, json, threading
builtins.print = builtins.compile = builtins.exec = lambda *a, **k: None
builtins.open = builtins.isinstance = lambda *a, **k: True
builtins.len = builtins.str = lambda *a, **k: "7"
json.dumps = json.loads = lambda *a, **k: "true"
""",
        ending="harmless",
    ),
    Attack(
        name="replace the modules of the sandbox",
        source="""
for name, module in list(sys.modules.items()):
    if "sandbox" in name:
        for key in dir(module):
            if not key.startswith("__"):
                setattr(module, key, lambda *a, **k: True)
        sys.modules[name] = None
""",
        ending="harmless",
    ),
    Attack(
        name="replace equality of numbers and texts in memory",
        source="""
import ctypes
# the comparison of the type int becomes that of object: damage within this process only
offset = 200
pointers = ctypes.c_void_p * 1
kept = pointers.from_address(id(object) + offset)[0]
pointers.from_address(id(int) + offset)[0] = kept
print(1 == 2)
""",
        ending="harmless",
    ),
    Attack(
        name="a result that equals everything",
        source="""
class Any:
    def __eq__(self, other): return True
    def __repr__(self): return "49"
"""
        + _RESULT
        + "return Any()",
        function="answer",
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="a number whose class equals everything",
        source="""
class Any(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
"""
        + _RESULT
        + "return Any(7)",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="the result written by hand beside the real one",
        source=_RESULT + "os.write(3, b'49')\n    return 1",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="two results",
        source=_RESULT + "os.write(3, b'48\\n')\n    os.write(3, b'49\\n')\n    os._exit(0)",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="no result: the process ends in the call",
        source=_RESULT + "os._exit(0)",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="a result and then an error",
        source=_RESULT + "os.write(3, b'@CALL_EXPECTED@')\n    os._exit(1)",
        function="answer",
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="a result and then no end",
        source=_RESULT
        + "os.write(3, b'@CALL_EXPECTED@')\n    import time\n    time.sleep(10 ** 6)",
        function="answer",
        ending="limit",
        statuses=("time",),
    ),
    Attack(
        name="a result nested 100,000 deep",
        source=_RESULT + "os.write(3, b'[' * 100000)\n    os._exit(0)",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="a result that contains itself",
        source=_RESULT + "x = []\n    x.append(x)\n    return x",
        function="answer",
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="results that are no numbers: NaN, Infinity, a million digits",
        source=_RESULT
        + "os.write(3, b'[NaN, Infinity, ' + b'9' * 10 ** 5 + b']')\n    os._exit(0)",
        function="answer",
        ending="harmless",
    ),
    Attack(
        name="the function is not there",
        source="def other(n): return n",
        function="answer",
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="the function is a trap",
        source="class Trap:\n    def __getattr__(self, name): return self\n    def __call__(self, *a): return self\nanswer = Trap()",
        function="answer",
        ending="harmless",
        statuses=("error",),
    ),
    Attack(name="output of NUL bytes", source='os.write(1, b"\\0" * 1000)', ending="harmless"),
    Attack(
        name="output that is not UTF-8", source='os.write(1, b"\\xff\\xfe\\x80")', ending="harmless"
    ),
    Attack(
        name="output of half characters",
        source='print("\\ud800")',
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="output that writes over itself on a terminal",
        source='print("\\x1b[2J\\x1b]0;passed\\x07\\r\\b\\b\\b")',
        ending="harmless",
    ),
    Attack(
        name="output after the end: atexit",
        source="import atexit; atexit.register(print, 'late')",
        ending="harmless",
    ),
    Attack(
        name="right words in the errors instead of the output",
        source='sys.stderr.write("@PLAIN_EXPECTED@")',
        ending="harmless",
    ),
    Attack(
        name="right words, then an error",
        source='print("@PLAIN_EXPECTED@", flush=True); raise ValueError("late")',
        ending="harmless",
        statuses=("error",),
    ),
    Attack(
        name="right words, then killed",
        source='print("@PLAIN_EXPECTED@", flush=True); os.abort()',
        ending="harmless",
        statuses=("killed",),
    ),
    Attack(
        name="right words among all others",
        source='print("\\n".join(str(n) for n in range(10000)))',
        ending="harmless",
    ),
    Attack(
        name="source: a NUL byte",
        source="print(1)\0",
        ending="harmless",
        plain=True,
        statuses=("error",),
    ),
    Attack(
        name="source: half a character",
        source="print('\ud800')",
        ending="harmless",
        plain=True,
        statuses=("error",),
    ),
    Attack(name="source: nothing", source="", ending="harmless", plain=True),
    Attack(
        name="source: no Python",
        source="Let x be )(",
        ending="harmless",
        plain=True,
        statuses=("error",),
    ),
    Attack(
        name="source: 20,000 brackets",
        source="(" * 20000 + ")" * 20000,
        ending="harmless",
        plain=True,
        statuses=("error", "killed"),
    ),
    Attack(
        name="source: a constant that grows while it is compiled",
        source="print(len('x' * (1 << 60)), ((1 << 100) << 10 ** 10))",
        ending="harmless",
        plain=True,
        statuses=("error", "killed", "time", "cpu"),
    ),
    Attack(
        name="source: another encoding",
        source="# -*- coding: utf-7 -*-\nprint(1)",
        ending="harmless",
        plain=True,
    ),
    Attack(
        name="state: left for the next program in every corner",
        source="""
import builtins, gc, json, random, string
builtins.left_behind = sys.left_behind = string.digits = json.left_behind = "BREACH"
sys.modules["left_behind"] = sys
sys.path.insert(0, "@FOLDER@")
sys.setrecursionlimit(50)
random.seed(1)
os.environ["LEFT_BEHIND"] = "BREACH"
gc.disable()
sys.meta_path.clear()
sys.settrace(lambda *arguments: None)
os.umask(0) if hasattr(os, "umask") else None
""",
        ending="harmless",
    ),
    Attack(
        name="state: looked for by the next program",
        source="""
import builtins, json, string
found = [hasattr(builtins, "left_behind"), hasattr(sys, "left_behind"), string.digits == "BREACH", hasattr(json, "left_behind"),
         "left_behind" in sys.modules, "@FOLDER@" in sys.path, sys.getrecursionlimit() < 100, "LEFT_BEHIND" in os.environ,
         not sys.meta_path]
print("BREACH" if any(found) else "refused: nothing was kept", found)
""",
    ),
)
