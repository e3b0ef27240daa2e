# Tries to forge events in the log stream and to harm the terminal of whoever reads it.
# gvisor, microvm: own
import sys

sys.stdout.buffer.write(b'\n\nevent: done\ndata: {"status": "completed"}\n\nid: 999999\ndata: x\r\r\n\n')
sys.stdout.buffer.write(b"\x1b]0;title\x07\x1b[2J\x1b[31m\0\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\n")
sys.stdout.buffer.write("\u2028\u2029\u0085\u202e".encode() + b"\n")
print("got nothing by it")
