"""TypeScript runs alike in every isolation that runs JavaScript."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tests.conformance.conftest import Speaker, available
from tests.conformance.dialects import NODE as IN_ISOLATES
from tests.conformance.dialects import Dialect
from tests.conformance.languages import NODE as UNDER_GVISOR
from tests.helpers.runs import logs, outcome, text_of

IN_MACHINES = replace(UNDER_GVISOR, isolation="microvm")
FUNCTION = "interface Input { a: number }\nexport default (input: Input): number => input.a + 1\n"
BROKEN = "\nconst x: = 1\n"
RAISES = """\
interface Input {
  a: number
}

export function inner(input: Input): never {
  throw new TypeError(`it broke: ${input.a}`)
}
"""


@pytest.fixture(params=(IN_ISOLATES, UNDER_GVISOR, IN_MACHINES), ids=str)
def dialect(request: pytest.FixtureRequest, http: httpx2.Client) -> Dialect:
    """JavaScript in an isolation; skipped with the server's reason where that is not available."""
    return available(request.param, http)


@pytest.mark.parametrize(
    "spec",
    [
        {"code": FUNCTION},
        {"files": {"main.ts": FUNCTION}},
        {"files": {"main.mts": FUNCTION}},
        {"files": {"main.ts": "export { default } from './lib/f.ts'\n", "lib/f.ts": FUNCTION}},
        {"files": {"main.js": "import f from './f.ts'\nexport default f\n", "f.ts": FUNCTION}},
    ],
    ids=("code", "file", "mts", "import", "import-from-javascript"),
)
def test_a_function_gets_its_input_and_returns_its_output(speak: Speaker, spec: dict[str, Any]) -> None:
    done = speak.run(spec, input={"a": 1})
    assert (*outcome(done), done["output"]) == ("completed", None, 2)


def test_a_program_prints(http: httpx2.Client, speak: Speaker) -> None:
    code = "enum Word { Out = 'out' }\nconst say = async (word: Word): Promise<void> => console.log(word)\n"
    done = speak.run({"code": f"{code}await say(Word.Out)\n"})
    assert (*outcome(done), text_of(logs(http, done["id"]))) == ("completed", None, ["out"])


def test_an_exception_names_the_users_lines(speak: Speaker) -> None:
    done = speak.run({"code": f"{RAISES}\ninner({{ a: 1 }})\n"})
    assert (*outcome(done), done["exit_code"]) == ("failed", "exception", 1)
    trace = done["error"]["message"]
    assert "it broke: 1" in trace
    assert "main.ts:6:9" in trace
    assert "main.ts:9:1" in trace


def test_an_exception_names_the_lines_of_what_was_imported(speak: Speaker) -> None:
    main = "import { inner } from './lib/f.ts'\n\nexport default (input: { a: number }) =>\n  inner(input)\n"
    done = speak.run({"files": {"main.ts": main, "lib/f.ts": RAISES}}, input={"a": 1})
    assert outcome(done) == ("failed", "exception")
    trace = done["error"]["message"]
    assert "lib/f.ts:6:9" in trace
    assert "main.ts:4:3" in trace


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"code": BROKEN}, "main.ts:2"),
        ({"files": {"main.ts": "import './lib/f.ts'\n", "lib/f.ts": BROKEN}}, "lib/f.ts:2"),
    ],
    ids=("entry", "import"),
)
def test_a_syntax_error_is_invalid_code_and_says_where(speak: Speaker, spec: dict[str, Any], place: str) -> None:
    done = speak.run(spec)
    assert outcome(done) == ("failed", "invalid_code")
    assert place in done["error"]["message"]
