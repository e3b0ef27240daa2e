"""The hostile programs: what each tries, where it runs, and how it must end there. All of it stands in its first lines.

A program opens with a sentence on what it tries, then `With:` and what its request has besides, then a line for each
isolation, with the outcomes that are allowed:

- `denied`: it came to its end and got nothing of what it tried;
- `own`: some of it worked, and reached nothing but what is its own;
- `completed`: it came to its end, whatever it says;
- `bounded N`: it came to its end and was given no more than N of anything;
- a reason, such as `timeout`: that is how its workload failed.

`jail` is an isolation here: the walls behind a JavaScript runtime that is wholly taken over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caisson.model import Reason

FOLDER = Path(__file__).parent / "programs"
TOOLS = FOLDER.with_name("tools")
RUNTIMES = {".py": "python", ".mjs": "node", ".go": "go", ".sh": "bash", ".wat": "wasm"}
ISOLATIONS = ("isolate", "jail", "gvisor", "microvm")
OUTCOMES = {"denied", "own", "completed", *Reason}
_BOUNDED = re.compile(r"bounded (\d+)")
_TOLD = re.compile(r"(got|denied|bounded) (.*)", re.S)
RESOURCES = {"cpus", "mem_mb", "disk_mb", "timeout_s", "max_output_bytes"}


@dataclass(frozen=True)
class Program:
    """One of them."""

    name: str
    """Its path below `programs`."""
    tries: str
    runtime: str
    expected: Mapping[str, tuple[str, ...]]
    """Outcomes that are allowed, by isolation."""
    settings: Mapping[str, Any]
    source: str

    @property
    def files(self) -> dict[str, str]:
        """What is sent: the program under its runtime's name for it, and its tools."""
        suffix = Path(self.name).suffix
        tools = {path.name: path.read_text() for path in TOOLS.glob(f"*{suffix}")}
        return {f"main{suffix}": self.source, **tools}

    @property
    def network(self) -> Any:
        """Its request's network."""
        return self.settings.get("network", "none")

    @property
    def resources(self) -> dict[str, Any]:
        """Its request's resources."""
        usual: dict[str, Any] = {"timeout_s": 120, **({"mem_mb": 512} if self.runtime == "go" else {})}
        return usual | {name: value for name, value in self.settings.items() if name in RESOURCES}


@dataclass(frozen=True)
class Ended:
    """How a program ended: its workload's reason if that failed, what it said, and all that came out of it."""

    reason: str | None
    lines: tuple[str, ...]
    everything: str


def read_program(path: Path) -> Program:
    """Read one; raises ValueError if its first lines do not say what they must."""
    source, name = path.read_text(), str(path.relative_to(FOLDER))
    head = []
    for line in source.splitlines():
        if not (match := re.match(r"(?:#|//|;;) (.+)", line)):
            break
        head.append(match[1])
    tries, settings, expected = head[0], {}, {}
    for line in head[1:]:
        key, _, value = line.partition(": ")
        if key == "With":
            for each in re.split(r", (?=\w+=)", value):
                member, _, text = each.partition("=")
                settings[member] = text if re.fullmatch(r"[a-z]+", text) else json.loads(text)
            continue
        outcomes = tuple(value.split(" or "))
        for isolation in key.split(", "):
            if isolation not in ISOLATIONS:
                raise ValueError(f"{name}: there is no isolation {isolation!r}")
            if unknown := [each for each in outcomes if each not in OUTCOMES and not _BOUNDED.fullmatch(each)]:
                raise ValueError(f"{name}: there is no outcome {unknown}")
            expected[isolation] = outcomes
    if not expected:
        raise ValueError(f"{name} does not say how it must end")
    runtime = "oci" if name.startswith("images/") else RUNTIMES[path.suffix]
    return Program(name, tries, runtime, expected, settings, source)


def corpus() -> list[Program]:
    """All of them, by name."""
    return [read_program(path) for path in sorted(FOLDER.rglob("*.*")) if path.suffix in RUNTIMES]


def outcome(program: Program, isolation: str, ended: Ended) -> str:
    """The outcome in the words of this page: of several that fit, one that is allowed."""
    if ended.reason is not None:
        return ended.reason
    got = any(line.startswith("got ") for line in ended.lines)
    fitting = {"own" if got else "denied", "completed"}
    counts = [line for line in ended.lines if line.startswith("bounded ")]
    if counts and not any(line.endswith("without end") for line in counts):
        most = max(int(line.split(": ")[1].split()[0]) for line in counts)
        fitting |= {
            each for each in program.expected[isolation] if (m := _BOUNDED.fullmatch(each)) and most <= int(m[1])
        }
    allowed = [each for each in program.expected[isolation] if each in fitting]
    return allowed[0] if allowed else "own" if got else "denied"


def complaints(program: Program, isolation: str, ended: Ended, secrets: Mapping[str, str]) -> list[str]:
    """What is wrong with how it ended; empty if nothing is."""
    allowed = program.expected[isolation]
    wrong = [f"it reached {what}" for what, text in secrets.items() if text in ended.everything]
    if (seen := outcome(program, isolation, ended)) not in allowed:
        wrong.append(f"it ended as `{seen}`, not as `{' or '.join(allowed)}`")
    if not {"own", "completed"} & set(allowed):
        wrong += [line for line in ended.lines if line.startswith("got ")]
    if (
        ended.reason in (None, "exit_nonzero")
        and not _TOLD.search("\n".join(ended.lines))
        and "attempt" in program.source
    ):
        wrong.append(f"it said nothing of what it tried: {ended.everything[-500:]!r}")
    return [f"{program.name} in {isolation}: {each}" for each in wrong]
