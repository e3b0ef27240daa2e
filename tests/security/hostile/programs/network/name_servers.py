# Tries to get past the name service: by asking others, by what it must not answer, and by malformed questions.
# With: network={"allow": ["1.2.3.4"]}
# gvisor: denied
import socket
import struct

from attempt import attempt


def ask(server, name, kind=1, raw=b""):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.7)
        asking.sendto(
            raw or struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + labels + struct.pack("!HH", kind, 1), (server, 53)
        )
        answer = asking.recv(1500)
        if not struct.unpack_from("!H", answer, 6)[0]:
            raise OSError(5, "no answer")
        return answer[-4:]


for server in ("9.9.9.9", "127.0.0.1", "80.0.0.2", "10.9.0.1", "1.1.1.1"):
    attempt(f"another: {server}", lambda server=server: ask(server, b"other.example"))
own = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
for server in own:
    for name in (b"other.example", b"secret-in-a-name." + b"x" * 50 + b".example", b"rebound.example"):
        attempt(f"own: {name[:20]!r}", lambda server=server, name=name: ask(server, name))
    attempt("transfer", lambda server=server: ask(server, b"example", 252))
    for number, raw in enumerate(
        [b"", b"\0", b"\xff" * 512, struct.pack("!6H", 1, 0x100, 99, 0, 0, 0) + b"\xc0\x0c" * 50]
    ):
        attempt(f"malformed {number}", lambda server=server, raw=raw: ask(server, b"x", raw=raw))
