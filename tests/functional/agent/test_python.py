"""Python workloads in the waiting interpreter, as the agent's driver sees them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial

import pytest

from caisson.model import Runtime, Stream
from caisson.sandbox.contract import Exited, Output
from tests.helpers.driving import Drove

Run = Callable[..., Drove]
SLOW_THREAD = """
import os, threading, time
threading.Thread(target=lambda: time.sleep(0.1) or os.write(2, b"t")).start()
"""


@pytest.fixture
def python(harnessed: Run) -> Run:
    """Runs code, or several files."""
    return partial(harnessed, Runtime.PYTHON)


def test_a_function_gets_the_input_and_returns_the_output(python: Run) -> None:
    done = python("def handler(input): return {'sum': input['a'] + 1, 'ü': None}", input={"a": 1})
    assert (done.result, done.exited) == ({"sum": 2, "ü": None}, Exited(code=0))


def test_a_large_input_and_a_large_output_pass(python: Run) -> None:
    done = python("def handler(input): return input * 2", input="x" * 2_000_000)
    assert done.result == "x" * 4_000_000


def test_a_function_may_be_async_imported_or_assigned(python: Run) -> None:
    asynchronous = "import asyncio\nasync def handler(x):\n    await asyncio.sleep(0)\n    return x"
    assert python(asynchronous, input=1).result == 1
    assert python({"main.py": "from lib.a import handler", "lib/a.py": "def handler(x): return x"}, input=2).result == 2
    assert python("handler = lambda x: x", input=3).result == 3


def test_a_program_runs_as_main_and_a_function_does_not(python: Run) -> None:
    assert python("print(__name__, __file__.rsplit('/', 1)[1])").stdout == "__main__ main.py\n"
    done = python("import sys\nif __name__ == '__main__': print('main')\ndef handler(x): return __name__")
    assert (done.stdout, done.result) == ("", "main")


def test_one_that_says_ready_first_does_the_same_though_the_users_files_have_names_of_the_standard_library(
    harnessed: Run,
) -> None:
    run = partial(harnessed, Runtime.PYTHON, options=("--ready-first",))
    assert run("def handler(input): return {'ü': input}", input=[1.5, None, "\n"]).result == {"ü": [1.5, None, "\n"]}
    code = (
        "import re, traceback\nclass Odd(Exception): pass\ndef handler(input):\n    raise Odd(re.MINE + traceback.MINE)"
    )
    done = run({"main.py": code, "re.py": "MINE = 'a'", "traceback.py": "MINE = 'b'", "enum.py": "no python"})
    assert (done.raised.kind, done.raised.message) == ("Odd", "ab")
    assert done.raised.trace.splitlines()[:2] == [
        "Traceback (most recent call last):",
        '  File "main.py", line 4, in handler',
    ]
    assert run("def handler(input): return {1, 2}").raised.message == "Object of type set is not JSON serializable"


def test_a_program_reads_stdin_and_writes_its_output_file(python: Run) -> None:
    code = "import json, os, sys\njson.dump([json.load(sys.stdin), sys.argv], open(os.environ['CAISSON_OUTPUT'], 'w'))"
    done = python(code, input={"a": 1}, args=("x y", ""))
    assert (done.result, done.exited) == ([{"a": 1}, ["main.py", "x y", ""]], Exited(code=0))
    assert python("print(input())", stdin=b"line\n").stdout == "line\n"


def test_the_order_of_stdout_and_stderr_is_kept(python: Run) -> None:
    code = "import sys\nfor n in range(500):\n    print(n)\n    print(n, file=sys.stderr)"
    done = python(code)
    lines = [
        (event.stream, line)
        for event in done.events
        if isinstance(event, Output)
        for line in event.data.decode().splitlines()
    ]
    assert lines == [(stream, str(n)) for n in range(500) for stream in (Stream.STDOUT, Stream.STDERR)]


def test_children_and_plain_descriptors_write_too(python: Run) -> None:
    code = """
import os, subprocess, sys
print("parent")
if os.fork() == 0:
    print("child", flush=True)
    os._exit(0)
os.wait()
subprocess.run(["/bin/echo", "grandchild"], stdout=sys.stdout)
os.write(2, b"raw")
"""
    done = python(code)
    assert sorted(done.stdout.split()) == ["child", "grandchild", "parent"]
    assert done.stderr == "raw"


@pytest.mark.parametrize(
    ("code", "number", "stderr"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os; os._exit(9)", 9, ""),
        ("raise SystemExit(257)", 1, ""),
        ("def handler(x): raise SystemExit(4)", 4, ""),
        ("import atexit, sys; atexit.register(lambda: print('bye', file=sys.stderr))", 0, "bye\n"),
        (SLOW_THREAD, 0, "t"),
    ],
)
def test_exit_codes_are_the_programs(python: Run, code: str, number: int, stderr: str) -> None:
    done = python(code)
    assert (done.exited, done.stderr) == (Exited(code=number), stderr)


def test_an_exception_names_the_users_files_and_lines_only(python: Run) -> None:
    files = {
        "main.py": "from lib.deep import f\n\ndef handler(input):\n    return f(input)\n",
        "lib/deep.py": "import json\n\ndef f(x):\n    try:\n        json.loads('{')\n    except ValueError as e:\n"
        "        raise KeyError('broke') from e\n",
    }
    done = python(files)
    raised = done.raised
    assert (raised.kind, raised.message, done.exited) == ("KeyError", "'broke'", Exited(code=1))
    assert 'File "main.py", line 4, in handler' in raised.trace
    assert 'File "lib/deep.py", line 7, in f' in raised.trace
    assert "raise KeyError('broke') from e" in raised.trace
    assert "json.decoder.JSONDecodeError" in raised.trace
    assert "/usr/lib" not in raised.trace
    assert "python.py" not in raised.trace
    assert done.stderr == raised.trace + "\n"


def test_code_that_cannot_be_compiled_is_invalid(python: Run) -> None:
    raised = python("x = 1\ndef f(:\n").raised
    assert raised.kind == "invalid_code"
    assert 'File "main.py", line 2' in raised.trace
    assert python({"main.py": "import other", "other.py": "("}).raised.kind == "invalid_code"
    assert python("a\0b").raised.kind == "invalid_code"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("eval('(')", "SyntaxError"),
        ("import nothing_there", "ModuleNotFoundError"),
        ("def handler(x): return {1, 2}", "TypeError"),
        ("def handler(x): return float('nan')", "ValueError"),
        ("import errno; raise OSError(errno.ENOSPC, 'full')", "disk_full"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
    ],
)
def test_exceptions_are_told_by_their_kind(python: Run, code: str, kind: str) -> None:
    done = python(code)
    assert (done.raised.kind, done.exited) == (kind, Exited(code=1))


def test_memory_that_cannot_be_had_is_out_of_memory(python: Run) -> None:
    assert python("bytearray(1 << 60)").exited.out_of_memory


def test_a_program_that_spoils_its_modules_harms_only_itself(python: Run) -> None:
    code = """
import json, os, struct
json.dumps = os.write = os.read = struct.pack = None
os.closerange(3, 256)
def handler(input): return input
"""
    assert python(code, input={"a": [1]}).result == {"a": [1]}


def test_a_program_that_writes_on_the_channel_breaks_only_its_own_run(python: Run) -> None:
    code = "import os\nfor fd in range(3, 1024):\n    try: os.write(fd, b'x' * 100)\n    except OSError: pass\n"
    failure = python(code).failure
    assert failure is not None
    assert "protocol" in failure.message


def test_the_environment_is_what_was_given(python: Run) -> None:
    done = python("import os, json\ndef handler(x): return dict(os.environ)", env={"K": "é"})
    assert done.result["K"] == "é"
    assert done.result["CAISSON_OUTPUT"].endswith("/work/.caisson-output.json")
    assert set(done.result) <= {"K", "CAISSON_OUTPUT", "PATH", "HOME", "LANG", "USER", "TMPDIR", "LC_CTYPE"}


def test_a_rehearsal_leaves_nothing_that_a_program_could_find(python: Run) -> None:
    code = """
import os, sys
def handler(x):
    assert sys.modules["__main__"].handler is handler
    return [x, sorted(os.listdir(".")), sys.argv, sys.path, sorted(os.environ), sorted(sys.modules)]
"""
    for options in ((), ("--restart-on-renew",)):
        rehearsed, other = (python(code, input=1, rehearsals=number, options=options) for number in (2, 0))
        assert rehearsed.result == other.result


def test_files_of_the_user_s_may_be_called_as_the_harness_s_are(python: Run) -> None:
    files = {
        "main.py": "import python_rehearsal as r, python_traces as t\ndef handler(x): return r.a + t.b / x",
        "python_rehearsal.py": "a = 1",
        "python_traces.py": "b = 2",
    }
    assert python(files, input=1).result == 3
    assert python(files, input=0).raised.kind == "ZeroDivisionError"


def test_copies_draw_other_numbers_after_they_renewed_themselves(python: Run) -> None:
    assert python("import random\ndef handler(x): return random.random()", renewals=1).result < 1


def test_a_harness_that_must_be_started_anew_is(python: Run) -> None:
    done = python("def handler(x): return x", input=1, renewals=2, options=("--restart-on-renew",))
    assert done.result == 1


def test_nothing_is_left_in_the_work_folder(python: Run) -> None:
    files = {"main.py": "import other, os\ndef handler(x): return os.listdir('.')", "other.py": ""}
    assert sorted(python(files).result) == ["main.py", "other.py"]
    assert json.dumps(python("def handler(x): return 1").result) == "1"


def test_nothing_runs_after_a_functions_end(python: Run) -> None:
    code = """
import os, threading, time
def late():
    while True:
        os.write(1, b".")
        time.sleep(0.001)
def handler(x):
    threading.Thread(target=late).start()
    if os.fork() == 0:
        time.sleep(1000)
    return os.getpid()
"""
    done = python(code)
    assert done.exited == Exited(code=0)
    with pytest.raises(ProcessLookupError):
        os.killpg(done.result, 0)
