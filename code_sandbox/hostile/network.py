"""Programs that reach for the network, to the listeners of the traps or to anybody."""

from code_sandbox.hostile.attack import Attack

ATTACKS = (
    Attack(
        name="TCP to a listener on this host",
        source="""
import socket
attempt("connect", lambda: socket.create_connection(("127.0.0.1", @TCP_PORT@), 2).send(b"x"))
""",
        control=True,
    ),
    Attack(
        name="TCP listener of its own",
        source="""
import socket
attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
""",
        control=True,
    ),
    Attack(
        name="TCP over IPv6",
        source="""
import socket
attempt("socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
""",
    ),
    Attack(
        name="UDP",
        source="""
import socket
attempt("sendto", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", @UDP_PORT@)))
""",
        control=True,
    ),
    Attack(
        name="UNIX socket by path",
        source="""
import socket
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect("@UNIX_SOCKET@"))
""",
        control=True,
    ),
    Attack(
        name="UNIX socket by abstract name",
        source="""
import socket
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect("\\0@ABSTRACT_SOCKET@"))
""",
        control=True,
    ),
    Attack(
        name="socket pairs",
        source="""
import socket
attempt("socketpair", socket.socketpair)
""",
        control=True,
    ),
    Attack(
        name="names of hosts",
        source="""
import socket
attempt("getaddrinfo", lambda: socket.getaddrinfo("localhost", 80))
attempt("gethostbyname", lambda: socket.gethostbyname("localhost"))
""",
    ),
    Attack(
        name="http",
        source="""
import urllib.request
attempt("urlopen", lambda: urllib.request.urlopen("http://127.0.0.1:@TCP_PORT@/", timeout=2))
attempt("file url", lambda: urllib.request.urlopen("file://@SECRET_FILE@").read())
""",
    ),
    Attack(
        name="raw, packet, netlink, vsock, crypto sockets",
        source="""
import socket
for family, kind in ((2, 3), (17, 3), (16, 3), (40, 1), (38, 5), (31, 3), (29, 3)):
    attempt(f"socket {family}", lambda: socket.socket(family, kind))
""",
        control=True,
    ),
    Attack(
        name="socket by its bare number",
        source="""
attempt("socket", system_call, 41, 2, 1, 0)
attempt("connect", system_call, 42, 0, 0, 0)
attempt("accept4", system_call, 288, 0, 0, 0, 0)
attempt("sendmsg", system_call, 46, 1, 0, 0)
""",
    ),
    Attack(
        name="socket through the gate of 32-bit programs",
        source="""
import ctypes, mmap
code = bytes.fromhex("53 b8 67 01 00 00 bb 02 00 00 00 b9 01 00 00 00 31 d2 cd 80 5b c3")  # socket(2, 1, 0) by int 0x80
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
sys.stdout.flush()
result = function()
print("BREACH" if result >= 0 else "refused", result)
""",
        ending="harmless",
        statuses=("killed", "error"),
    ),
    Attack(
        name="socket through the numbers of x32",
        source='attempt("socket", system_call, 0x40000000 | 41, 2, 1, 0)',
        ending="harmless",
        statuses=("killed", "error"),
    ),
    Attack(
        name="asyncio server",
        source="""
import asyncio
async def serve():
    await asyncio.start_server(lambda *pair: None, "127.0.0.1", 0)
attempt("server", lambda: asyncio.run(serve()))
""",
        control=True,
    ),
)
