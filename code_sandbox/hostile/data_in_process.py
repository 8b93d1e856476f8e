"""Programs that look for what the process must not hold: expected outputs, inputs of other tests, other programs.

They hunt for the words that begin with `HIDDEN-`, which are in expected outputs, in the inputs of other tests, in the
environment and in the secret file of the traps, and print what they find.
"""

from code_sandbox.hostile.attack import Attack

_FIND = """
def words(thing, depth=0):
    if isinstance(thing, (bytes, bytearray)):
        thing = thing.decode("latin-1")
    if isinstance(thing, str):
        import re
        if match := re.search("HIDDEN-[0-9a-f]{16}", thing):  # not this pattern itself
            print("BREACH", match[0])
    elif depth < 3 and isinstance(thing, dict):
        for key, value in list(thing.items()):
            words(key, depth + 1), words(value, depth + 1)
    elif depth < 3 and isinstance(thing, (list, tuple, set, frozenset)):
        for value in list(thing):
            words(value, depth + 1)
"""
_DONE = "\nprint('refused: nothing is here')\n"

ATTACKS = (
    Attack(
        name="frames: the six lines that get full marks from PRIME's and verl's graders",
        source="""
frame = sys._getframe()
while frame:
    for values in (frame.f_locals, frame.f_globals):
        if "in_outs" in values:
            print("BREACH", values["in_outs"]["outputs"])
    frame = frame.f_back
print("refused: no frame has it")
""",
    ),
    Attack(
        name="frames: whatever the frames above hold, by content",
        source=_FIND
        + """
frame = sys._getframe()
while frame:
    words(dict(frame.f_locals)), words(dict(frame.f_globals))
    frame = frame.f_back
"""
        + _DONE,
    ),
    Attack(
        name="frames: of all threads",
        source=_FIND
        + """
for frame in sys._current_frames().values():
    while frame:
        words(dict(frame.f_locals)), words(dict(frame.f_globals))
        frame = frame.f_back
"""
        + _DONE,
    ),
    Attack(
        name="frames: from the traceback of an error of its own",
        source=_FIND
        + """
try:
    1 / 0
except ZeroDivisionError as error:
    frame = error.__traceback__.tb_frame
    while frame:
        words(dict(frame.f_locals)), words(dict(frame.f_globals))
        frame = frame.f_back
"""
        + _DONE,
    ),
    Attack(
        name="gc.get_objects, also of the frozen generation",
        source=_FIND
        + """
import gc
gc.unfreeze()
for thing in gc.get_objects():
    words(thing, 2)
"""
        + _DONE,
    ),
    Attack(
        name="gc.get_referrers of its own source",
        source=_FIND
        + """
import gc
for thing in gc.get_referrers(sys.modules["__main__"].__dict__, __builtins__):
    words(thing)
"""
        + _DONE,
    ),
    Attack(
        name="all modules, those of the sandbox too",
        source=_FIND
        + """
for module in list(sys.modules.values()):
    words(dict(getattr(module, "__dict__", {})))
"""
        + _DONE,
    ),
    Attack(
        name="its memory, byte by byte, around living objects",
        source="""
import ctypes, gc, re
found = 0
gc.unfreeze()
living = [*gc.get_objects(), *vars(sys.modules["__main__"]).values()]  # kept, so that their pages stay mapped
living += [value for thing in living if type(thing) is dict for value in [*thing, *thing.values()]]
for page in {id(thing) >> 12 for thing in living}:  # no wider: the page beside an object of no pool may not be there
    found += len(re.findall(rb"HIDDEN-[0-9a-f]{16}", ctypes.string_at(page << 12, 4096)))
print("BREACH" if found else "refused: nothing is here")
""",
    ),
    Attack(
        name="its memory through /proc/self/mem",
        source="""
attempt("maps", lambda: open("/proc/self/maps").read(100))
attempt("mem", lambda: open("/proc/self/mem", "rb").seek(4096))
""",
        control=True,
    ),
    Attack(
        name="the memory of its parent through /proc",
        source="""
attempt("maps", lambda: open(f"/proc/{os.getppid()}/maps").read(100))
attempt("mem", lambda: open(f"/proc/{os.getppid()}/mem", "rb").seek(4096))
""",
    ),
    Attack(
        name="the memory of its parent through process_vm_readv",
        source="must_be_denied('process_vm_readv', 310, os.getppid(), 0, 0, 0, 0, 0)",
    ),
    Attack(
        name="environment variables",
        source="""
print("BREACH" if [name for name in os.environ if name not in ("LC_CTYPE",)] else "refused: the environment is empty")
attempt("/proc/self/environ", lambda: open("/proc/self/environ").read())
attempt("/proc/ppid/environ", lambda: open(f"/proc/{os.getppid()}/environ").read())
attempt("the owner's environ", lambda: open("/proc/@OWNER@/environ").read())
""",
        control=True,
    ),
    Attack(
        name="the command line of the owner",
        source='attempt("cmdline", lambda: open("/proc/@OWNER@/cmdline").read())',
        control=True,
    ),
    Attack(
        name="every descriptor it may have inherited",
        source="""
for number in range(3, 1024):
    for what, function in (("read", lambda: os.read(number, 10)), ("write", lambda: os.write(number, b"x")),
                           ("stat", lambda: os.fstat(number))):
        try:
            print("BREACH", what, number, function())
        except OSError:
            pass
print("refused: there is none")
""",
    ),
    Attack(
        name="inputs of other tests: what lies before and behind its own input",
        source=_FIND
        + """
os.lseek(0, 0, 0)
words(os.read(0, 1 << 20))
attempt("before", lambda: os.lseek(0, -1, 0))
words(os.pread(0, 1 << 20, 100))
"""
        + _DONE,
    ),
    Attack(
        name="the source of the sandbox",
        source="""
folder = os.path.dirname(sys.modules["code_sandbox.inside"].__file__) if "code_sandbox.inside" in sys.modules else ""
attempt("inside.py", lambda: open(folder + "/inside.py").read())
attempt("compare.py", lambda: open(folder + "/compare.py").read())
""",
    ),
    Attack(
        name="the comparison, imported and replaced",
        source="""
def patch():
    import code_sandbox.compare
    code_sandbox.compare.equal_output = lambda *arguments: True
attempt("import", patch)
""",
    ),
    Attack(
        name="strings of the interpreter by id, after the parent's last job",
        source=_FIND
        + """
import gc
for function in [o for o in gc.get_objects() if type(o).__name__ == "function"]:
    words(function.__defaults__ or ()), words(function.__code__.co_consts)
    for cell in function.__closure__ or ():
        try:
            words(cell.cell_contents)
        except ValueError:
            pass
"""
        + _DONE,
    ),
)
