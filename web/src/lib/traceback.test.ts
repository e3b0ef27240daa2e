import { expect, test } from "vitest";

import { LogStore } from "./logstore";
import { lastLines, markers, offsetIn, spotsIn } from "./traceback";

const KNOWN = new Set(["main.py", "lib/util.py", "main.ts", "main.go", "main.sh"]);

test.each([
  ['  File "/work/lib/util.py", line 3, in f', "lib/util.py", 3, null],
  ['  File "main.py", line 12', "main.py", 12, null],
  ["    at default (file:///work/main.ts:2:22)", "main.ts", 2, 22],
  ["    at main.ts:7:1", "main.ts", 7, 1],
  ["./main.go:5:2: undefined: x", "main.go", 5, 2],
  ["main.sh: line 3: nope: command not found", "main.sh", 3, null],
])("%s", (text, path, line, column) => {
  expect(spotsIn(text, KNOWN)).toMatchObject([{ path, line, column }]);
});

test("files that are not the author's are no places", () => {
  expect(spotsIn('File "/usr/lib/python3.11/json/decoder.py", line 3', KNOWN)).toEqual([]);
  expect(spotsIn("at node:internal/process/task_queues:95:5", KNOWN)).toEqual([]);
});

test("a marker of Python says what went wrong", () => {
  const trace = 'Traceback (most recent call last):\n  File "/work/main.py", line 2, in handler\n    boom()\nValueError: no';
  expect(markers([trace], KNOWN)).toMatchObject([{ path: "main.py", line: 2, message: "ValueError: no" }]);
});

test("a log has markers too, and what the error itself says of a place comes first", () => {
  const log = new LogStore("x");
  for (const [seq, line] of ["begun", "\u001b[31mTypeError: no\u001b[0m", "    at \u001b[36mmain.ts\u001b[39m:2:5"].entries()) log.add({ seq, line, stream: "stderr", ts: "2026-11-24T00:00:00Z" });
  expect(markers(lastLines(log), KNOWN)).toMatchObject([{ path: "main.ts", line: 2, column: 5, message: "TypeError: no" }]);
  expect(markers(["no at main.ts:2:5", ...lastLines(log)], KNOWN)).toMatchObject([{ path: "main.ts", line: 2, message: "no at main.ts:2:5" }]);
});

test("each place of a line is marked, and what Go says before a trace", () => {
  const two = "./main.go:6:17: cannot use 3\n./main.go:6:35: cannot use 4";
  expect(markers([two], KNOWN)).toMatchObject([{ line: 6, column: 17 }, { line: 6, column: 35 }]);
  const panic = "panic: index out of range\n\ngoroutine 1 [running]:\nmain.main()\n\t./main.go:9 +0x56";
  expect(markers([panic], KNOWN)).toMatchObject([{ line: 9, message: "panic: index out of range" }]);
});

test("a place without words has those of the line that says what is wrong", () => {
  const built = 'main.ts:2:13\n      2 │   const a = ;\n        ╵             ^\n\nSyntaxError: Unexpected ";"';
  expect(markers([built], KNOWN)).toMatchObject([{ line: 2, column: 13, message: 'SyntaxError: Unexpected ";"' }]);
});

test("a column of Go counts bytes", () => {
  const spot = { path: "main.go", line: 1, column: 24, message: "" };
  expect(offsetIn('\tx := "äöü"; return x', spot)).toBe(20);
  expect(offsetIn('s := "😀"; x', { ...spot, column: 13 })).toBe(10);
  expect(offsetIn('x := "äöü"', { ...spot, path: "main.ts", column: 9 })).toBe(8);
  expect(offsetIn("short", spot)).toBe(5);
});

// In a time that grew with the square of a line's length, these took two minutes.
test("a log of hostile lines comes to an end", { timeout: 60_000 }, () => {
  const line = `${"a/".repeat(1_950)}:1`;
  expect(markers(Array<string>(1_000).fill(line), KNOWN)).toEqual([]);
});

test("a hostile line of any length comes to an end", () => {
  expect(spotsIn("a/".repeat(500_000), KNOWN)).toEqual([]);
  expect(spotsIn(`${"a".repeat(3_900)}:1`, KNOWN)).toEqual([]);
});
