"""Right programs pass, whatever manner they read, compute and print in; and hostile ones beside them take nothing from them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator

import pytest

from code_sandbox.jobs import Limits
from code_sandbox.problems import Case, Problem
from code_sandbox.runner import SandboxPool

WIDE = Limits(wall_seconds=120.0, cpu_seconds=30)
"""On a busy host too."""


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(2, WIDE) as shared:
        yield shared


def stdin_problem(stdin: str, expected: str) -> Problem:
    return Problem(kind="stdin", tests=(Case(stdin, expected),))


def call_problem(function: str, arguments: list[object], value: object) -> Problem:
    test = Case(json.dumps(arguments), json.dumps(value))
    return Problem(kind="call", tests=(test,), function=function)


NUMBERS = "3\n1 2\n3 4\n5 6\n"
SUM_OF_ALL = "24"
READING = {
    "input()": "n = int(input())\nprint(n + sum(sum(map(int, input().split())) for _ in range(n)))",
    "input until EOF": """
total = 0
while True:
    try:
        total += sum(map(int, input().split()))
    except EOFError:
        break
print(total)
""",
    "sys.stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "sys.stdin as lines": "import sys\nprint(sum(int(w) for line in sys.stdin for w in line.split()))",
    "sys.stdin.readline": "import sys\ninput = sys.stdin.readline\nn = int(input())\nprint(n + sum(sum(map(int, input().split())) for _ in range(n)))",
    "sys.stdin.readlines": "import sys\nprint(sum(int(w) for line in sys.stdin.readlines() for w in line.split()))",
    "sys.stdin.buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
    "sys.stdin.buffer.readline": "import sys\nread = sys.stdin.buffer.readline\nn = int(read())\nprint(n + sum(sum(map(int, read().split())) for _ in range(n)))",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "open(0) as lines": "n, *rows = open(0)\nprint(int(n) + sum(int(w) for row in rows for w in row.split()))",
    "open('/dev/stdin')": "print(sum(map(int, open('/dev/stdin').read().split())))",
    "os.read": "import os\nprint(sum(map(int, os.read(0, 10 ** 6).split())))",
    "os.read of the size of the file": "import io, os\nprint(sum(map(int, io.BytesIO(os.read(0, os.fstat(0).st_size)).read().split())))",
    "mmap": "import mmap\nprint(sum(map(int, mmap.mmap(0, 0, prot=mmap.PROT_READ)[:].split())))",
    "fileinput": "import fileinput\nprint(sum(int(w) for line in fileinput.input() for w in line.split()))",
    "iter(input, '')": "import sys\nprint(sum(int(w) for line in iter(sys.stdin.readline, '') for w in line.split()))",
    "sys.stdin replaced": """
import io, os, sys
sys.stdin = io.StringIO(os.read(0, os.fstat(0).st_size).decode())
input = lambda: sys.stdin.readline().rstrip("\\r\\n")
n = int(input())
print(n + sum(sum(map(int, input().split())) for _ in range(n)))
""",
}
WRITING = {
    "print": "print(24)",
    "sys.stdout.write": "import sys\nsys.stdout.write('24\\n')",
    "without a newline": "print(24, end='')",
    "sys.stdout.buffer": "import sys\nsys.stdout.buffer.write(b'24')",
    "os.write": "import os\nos.write(1, b'24\\n')",
    "open(1)": "print(24, file=open(1, 'w', closefd=False))",
    "open('/dev/null') read": "print(24 + len(open('/dev/null').read()))",
    "flushed": "print(24, flush=True)",
    "exit()": "print(24)\nexit()",
    "quit()": "print(24)\nquit()",
    "sys.exit()": "import sys\nprint(24)\nsys.exit()",
    "raise SystemExit": "print(24)\nraise SystemExit",
    "os._exit after a flush": "import os\nprint(24, flush=True)\nos._exit(0)",
    "atexit": "import atexit\natexit.register(print, 24)",
    "main guard": "def main():\n    print(24)\nif __name__ == '__main__':\n    main()",
    "main guard and class": "class Solution:\n    def run(self):\n        print(24)\nif __name__ == '__main__':\n    Solution().run()",
    "warnings and errors beside": "import sys, warnings\nwarnings.warn('old')\nprint('debug', file=sys.stderr)\nprint(24)",
    "io.StringIO for all": "import io, sys\nout = io.StringIO()\nout.write('24')\nsys.stdout.write(out.getvalue())",
    "a comment with a coding": "# -*- coding: utf-8 -*-\nprint(24)",
    "form feed, tabs and carriage returns": "if True:\r\n\tx = 24\r\n\x0c\r\nprint(x)\r\n",
}
COMPUTING = {
    "collections, heapq, bisect": """
from collections import Counter, OrderedDict, defaultdict, deque
from heapq import heapify, heappop
import bisect
heap = [9, 3, 12]
heapify(heap)
queue = deque([heappop(heap), heappop(heap)])
print(sum(queue) + bisect.bisect([1, 2, 3], 2) + Counter("aab")["a"] + defaultdict(int)["x"] + len(OrderedDict(a=1)) + 7)
""",
    "itertools, functools, math": "from itertools import *\nfrom functools import *\nimport math\nprint(reduce(int.__mul__, takewhile(lambda n: n < 5, count(1))) * math.comb(1, 1))",
    "decimal, fractions, statistics": "from decimal import Decimal\nfrom fractions import Fraction\nimport statistics\nprint(int(Decimal('10.5') + int(Fraction(27, 2)) + Decimal(statistics.mean([0, 1]))))",
    "re, string, datetime, random": "import re, string, datetime, random\nrandom.seed(1)\nprint(len(string.digits) + len(re.findall('a', 'aaa')) + datetime.date(2024, 1, 11).day + 0 * random.randint(1, 9))",
    "dataclasses, typing, enum": "from dataclasses import dataclass\nfrom typing import *\nimport enum\n@dataclass(order=True)\nclass P:\n    x: int = 24\nclass E(enum.Enum):\n    A = 1\nprint(P().x)",
    "recursion 50,000 deep": "import sys\nsys.setrecursionlimit(10 ** 6)\ndef f(n): return 0 if n == 0 else f(n - 1)\nprint(24 + f(50000))",
    "recursion in a thread with a large stack": """
import sys, threading
sys.setrecursionlimit(10 ** 6)
threading.stack_size(256 * 1024 * 1024)
def f(n): return 0 if n == 0 else f(n - 1)
thread = threading.Thread(target=lambda: print(24 + f(50000)))
thread.start()
thread.join()
""",
    "recursion through C: lru_cache": "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10 ** 6)\n@lru_cache(None)\ndef f(n): return 0 if n == 0 else f(n - 1)\nprint(24 + f(20000))",
    "limits that it may set": "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (-1, -1))\nsys.setrecursionlimit(1 << 25)\nprint(24)",
    "threads": """
import threading, queue
from concurrent.futures import ThreadPoolExecutor
results = queue.Queue()
threads = [threading.Thread(target=results.put, args=(n,)) for n in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
with ThreadPoolExecutor(4) as executor:
    print(sum(results.get() for _ in range(4)) + sum(executor.map(abs, range(-6, 1))) - 3)
""",
    "a thread that is not waited for": "import threading, time\ndef late():\n    time.sleep(0.05)\n    print(24)\nthreading.Thread(target=late).start()",
    "200 MB of numbers": "x = list(range(5 * 10 ** 6))\nprint(24 + 0 * len(x))",
    "a sieve to two millions": "n = 2 * 10 ** 6\ns = bytearray([1]) * n\nfor i in range(2, 1415):\n    if s[i]:\n        s[i * i :: i] = bytes(len(range(i * i, n, i)))\nprint(sum(s) - 2 - 148933 + 24)",
    "a whole number of 20,000 digits": "print(24 if len(str(10 ** 20000)) == 20001 else 0)",
    "signals and clocks of its own": "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(0.02)\nassert time.time() > 0 < time.perf_counter()\nprint(24)",
    "hashlib, json, copy, struct": "import hashlib, json, copy, struct\nassert hashlib.sha256(b'x').hexdigest().startswith('2d71')\nprint(copy.deepcopy(json.loads('[24]'))[0] + struct.calcsize('=i') - 4)",
    "modules that load libraries": "import ctypes, sqlite3, ssl, zlib, bz2, lzma, unicodedata, zoneinfo\nprint(len(zlib.decompress(zlib.compress(b'x' * 24))))",
    "caught errors": "try:\n    open('/nowhere')\nexcept OSError:\n    print(24)",
    "an exception in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nprint(24)",
    "gc and weakref": "import gc, weakref\nclass A: pass\na = A()\nr = weakref.ref(a)\ndel a\ngc.collect()\nprint(24 if r() is None else 0)",
    "exec and eval": "exec('x = 20')\nprint(eval('x + 4'))",
    "pickle of its own classes": "import pickle\nclass A:\n    x = 24\nprint(pickle.loads(pickle.dumps(A())).x)",
    "tests of its own": "import doctest, unittest\ndef f():\n    '''\n    >>> f()\n    24\n    '''\n    return 24\nassert doctest.testmod().failed == 0\nprint(f())",
}


@pytest.mark.parametrize("source", READING.values(), ids=READING)
def test_input_in_every_usual_manner(source: str, pool: SandboxPool) -> None:
    (verdict,) = pool.grade_batch([(source, stdin_problem(NUMBERS, SUM_OF_ALL))])
    assert verdict.passed, verdict


@pytest.mark.parametrize("source", WRITING.values(), ids=WRITING)
def test_output_in_every_usual_manner(source: str, pool: SandboxPool) -> None:
    (verdict,) = pool.grade_batch([(source, stdin_problem("", "24\n"))])
    assert verdict.passed, verdict


@pytest.mark.parametrize("source", COMPUTING.values(), ids=COMPUTING)
def test_heavy_but_legal(source: str, pool: SandboxPool) -> None:
    (verdict,) = pool.grade_batch([(source, stdin_problem("", "24\n"))])
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("source", "function", "arguments", "value"),
    [
        ("def add(a, b):\n    return a + b", "add", [1, 2], 3),
        (
            "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b",
            "add",
            [1, 2],
            3,
        ),
        # LeetCode's own imports are there
        (
            "class Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n        return max(x, default=None)",
            "f",
            [[]],
            None,
        ),
        (
            "def f(x):\n    return Counter(x).most_common(1)[0][0] + pow(2, 3, 5) + gcd(4, 6)",
            "f",
            [[5, 5, 1]],
            10,
        ),
        (
            "def f(x):\n    return tuple(x), {str(k): True for k in x}",
            "f",
            [[1, 2]],
            [[1, 2], {"1": True, "2": True}],
        ),
        ("def f():\n    return 'ü\\u0000\\n'", "f", [], "ü\0\n"),
        ("def f(x):\n    print('debug', x)\n    return x / 3", "f", [1], 0.3333333333),
        ("def f(n):\n    return list(range(n))", "f", [200000], list(range(200000))),
        ("f = lambda x: x", "f", [10**30], 10**30),
    ],
)
def test_function_calls(
    source: str, function: str, arguments: list[object], value: object, pool: SandboxPool
) -> None:
    (verdict,) = pool.grade_batch([(source, call_problem(function, arguments, value))])
    assert verdict.passed, verdict


def test_large_input_that_is_read_and_that_is_not(pool: SandboxPool) -> None:
    large = "7 " * (4 << 20)
    reads = ("print(sum(map(int, input().split())) // 7)", stdin_problem(large, str(4 << 20)))
    does_not = ("print(1)", stdin_problem(large, "1"))
    assert [verdict.passed for verdict in pool.grade_batch([reads, does_not])] == [True, True]


def test_large_expected_output_makes_room_for_itself(pool: SandboxPool) -> None:
    lines = "\n".join(map(str, range(400_000)))
    assert len(lines) > WIDE.output_bytes
    problem = stdin_problem("", lines)
    right, endless = pool.grade_batch(
        [("print(*range(400_000), sep='\\n')", problem), ("while True: print(1)", problem)]
    )
    assert right.passed
    assert endless.tests[0].status == "output"


def test_the_same_program_gives_the_same_output_in_every_interpreter(pool: SandboxPool) -> None:
    source = "print(*{str(n) for n in range(100)})  # "
    answers = {
        verdict.tests[0].reason
        for verdict in pool.grade_batch(
            [(f"{source}{n}", stdin_problem("", "x")) for n in range(20)]
        )
    }
    assert len(answers) == 1 and answers != {""}


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_packages_that_the_owner_allows() -> None:
    source = "import numpy as np\nprint(int(np.arange(4).reshape(2, 2).dot(np.ones(2)).sum() + abs(np.linalg.det(np.eye(3)))) + 17)"
    other = "import pytest\nprint(24)"
    problem = stdin_problem("", "24")
    with SandboxPool(1, WIDE, packages=["numpy"]) as with_numpy, SandboxPool(1, WIDE) as without:
        assert [
            verdict.passed
            for verdict in with_numpy.grade_batch([(source, problem), (other, problem)])
        ] == [True, False]
        assert not without.grade_batch([(source, problem)])[0].passed
