"""How Python, Node.js, Go, the shell and an image from a registry say the sentences, in sandboxes with the agent."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from tests.conformance.dialects import NODE as NODE_IN_ISOLATES
from tests.conformance.dialects import Dialect, Spec

SECRETS = [str(Path(__file__).resolve()), "/etc/shadow", "/proc/1/root/etc/shadow", "/root/.ssh/authorized_keys"]
"""What a program may not read, first of all a file that certainly is on the host; `/etc/passwd` is the image's own."""


def code(text: str) -> Spec:
    """A request with this as its code."""
    return {"code": text}


PYTHON = Dialect(
    runtime="python",
    isolation="gvisor",
    hello=code("print('out')"),
    both_streams=code("import sys\nprint(1)\nprint(2, file=sys.stderr)\nprint(3)"),
    exit_3=code("raise SystemExit(3)"),
    echo_stdin=code("import shutil, sys\nshutil.copyfileobj(sys.stdin, sys.stdout)"),
    loop=code("while True: pass"),
    broken=code("def f(:"),
    raises=code("\ndef inner():\n    raise TypeError('it broke')\n\ninner()"),
    memory_hog=code("kept = []\nwhile True: kept.append(bytearray(1 << 20))"),
    flood=code("while True: print('x' * 1000)"),
    identity=code("def handler(input): return input"),
    args_and_env=code(
        "import json, os, sys\n"
        "json.dump({'args': sys.argv[1:], 'env': os.environ['K']}, open(os.environ['CAISSON_OUTPUT'], 'w'))"
    ),
    sees_other_files=code("import os\ndef handler(input): return os.listdir('.')"),
    host_secrets=code(
        f"""
import os
def handler(input):
    def reads(path):
        try:
            return bool(open(path).read())
        except OSError:
            return False
    return [path for path in {SECRETS} if reads(path)]
"""
    ),
)

NODE = replace(
    NODE_IN_ISOLATES,
    isolation="gvisor",
    exit_3=code("process.exit(3)"),
    echo_stdin=code("for await (const chunk of process.stdin) process.stdout.write(chunk)"),
    identity=code("export default (input) => input"),
    args_and_env=code(
        "import fs from 'node:fs'\nfs.writeFileSync(process.env.CAISSON_OUTPUT,"
        "JSON.stringify({args: process.argv.slice(2), env: process.env.K}))"
    ),
    sees_other_files=code("import fs from 'node:fs'\nexport default () => fs.readdirSync('.')"),
    host_secrets=code(
        f"import fs from 'node:fs'\nexport default () => {json.dumps(SECRETS)}"
        ".filter((path) => { try { return fs.readFileSync(path, 'utf8') } catch { return false } })"
    ),
)


def go(body: str, *imports: str) -> Spec:
    """A program."""
    listed = "\n".join(f'\t"{name}"' for name in imports)
    return code(f"package main\n\nimport (\n{listed}\n)\n\nfunc main() {{\n{body}\n}}\n")


def go_function(body: str, *imports: str) -> Spec:
    """A function of `input`."""
    listed = "\n".join(f'\t"{name}"' for name in ("encoding/json", *imports))
    head = "func Handler(input json.RawMessage) (any, error)"
    return code(f"package main\n\nimport (\n{listed}\n)\n\n{head} {{\n{body}\n}}\n")


# Two pipes have no common order: what is to be told apart is written some time apart.
GO_PAUSE = "time.Sleep(200 * time.Millisecond)"
GO = Dialect(
    runtime="go",
    isolation="gvisor",
    hello=go('fmt.Println("out")', "fmt"),
    both_streams=go(
        f"fmt.Println(1)\n{GO_PAUSE}\nfmt.Fprintln(os.Stderr, 2)\n{GO_PAUSE}\nfmt.Println(3)", "fmt", "os", "time"
    ),
    exit_3=go("os.Exit(3)", "os"),
    echo_stdin=go("io.Copy(os.Stdout, os.Stdin)", "io", "os"),
    loop=go("for {\n}"),
    broken=code("package main\n\nfunc main() {\n\tx := 1\n}\n"),
    raises=go_function('panic("it broke")'),
    memory_hog=go(
        "var kept [][]byte\nfor {\nb := make([]byte, 1<<20)\nfor i := range b {\nb[i] = 1\n}\n"
        "kept = append(kept, b)\nos.Stat(string(kept[0][:1]))\n}",
        "os",
    ),
    flood=go('for {\nfmt.Println(strings.Repeat("x", 1000))\n}', "fmt", "strings"),
    identity=go_function("return input, nil"),
    args_and_env=go(
        'text, _ := json.Marshal(map[string]any{"args": os.Args[1:], "env": os.Getenv("K")})\n'
        'os.WriteFile(os.Getenv("CAISSON_OUTPUT"), text, 0o600)',
        "encoding/json",
        "os",
    ),
    sees_other_files=go_function('return filepath.Glob("[^.]*")', "path/filepath"),
    host_secrets=go_function(
        "found := []string{}\n"
        f"for _, path := range []string{{{', '.join(map(json.dumps, SECRETS))}}} {{\n"
        "if text, err := os.ReadFile(path); err == nil && len(text) > 0 {\nfound = append(found, path)\n}\n}\n"
        "return found, nil",
        "os",
    ),
)

BASH = Dialect(
    runtime="bash",
    isolation="gvisor",
    hello=code("echo out"),
    both_streams=code("echo 1; sleep 0.2; echo 2 >&2; sleep 0.2; echo 3"),
    exit_3=code("exit 3"),
    echo_stdin=code("cat"),
    loop=code("while :; do :; done"),
    broken=None,
    raises=None,
    memory_hog=code("a=xxxxxxxx; while :; do a=$a$a; done"),
    flood=code("yes"),
    args_and_env=code(
        'printf \'{"args": ["%s", "%s"], "env": "%s"}\' "$1" "$2" "$K" >"$CAISSON_OUTPUT"',
    ),
    sees_other_files=code('printf \'["%s"]\' * >"$CAISSON_OUTPUT"'),
    host_secrets=code(
        f"found=; for path in {' '.join(SECRETS)}; do"
        ' if [ -n "$(cat "$path" 2>/dev/null | tr -d "\\0")" ]; then found="$found$path "; fi; done;'
        ' [ -z "$found" ] && echo "[]" >"$CAISSON_OUTPUT" || printf \'["%s"]\' "$found" >"$CAISSON_OUTPUT"'
    ),
)


def told(sentence: Spec) -> Spec:
    """The same to the shell that is the entry point of `busybox_image`."""
    return {"command": ["-c", sentence["code"], "sh"]}


OCI = Dialect(
    runtime="oci",
    isolation="gvisor",
    hello=told(BASH.hello),
    both_streams=told(BASH.both_streams),
    exit_3=told(BASH.exit_3),
    echo_stdin=told(BASH.echo_stdin),
    loop=told(BASH.loop),
    broken=None,
    raises=None,
    memory_hog=told(BASH.memory_hog),
    flood=told(code("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done")),
    args_and_env=told(BASH.args_and_env or {}),
    host_secrets=told(BASH.host_secrets or {}),
)

UNDER_GVISOR = (PYTHON, NODE, GO, BASH, OCI)
LANGUAGES = (PYTHON, NODE, GO, BASH)
EMULATED = LANGUAGES if os.environ.get("CAISSON_TEST_ALL") else (PYTHON, BASH)
"""Emulated machines are slow, so that all languages speak in them only where somebody asks for it."""
IN_MACHINES = tuple(replace(dialect, isolation="microvm") for dialect in EMULATED)
