import { expect, test } from "vitest";

import { requestBody } from "@/api/queries";

import { draftOfSpec } from "./draftOfSpec";
import { EXAMPLES } from "./examples";
import { asCommand, asCurl, asPython, asPythonValue, shellQuote } from "./snippets";
import { buildSpec, runtimeOf } from "./spec";
import { draftOf, likelyEntry, withFiles } from "./useDraft";

const [PYTHON] = EXAMPLES;
if (!PYTHON) throw new Error("there are no examples");
const draft = draftOf(PYTHON);

test("every example is a request without a mistake, and comes back from it", () => {
  for (const example of EXAMPLES) {
    const { spec, mistakes, archive } = buildSpec(draftOf(example));
    expect(mistakes).toEqual({});
    expect(archive).toBeNull();
    expect(spec.runtime).toBe(example.runtime);
    expect(draftOfSpec(spec).files).toEqual(example.files);
  }
});

test("one file of the usual name is code, several are files, and bytes are an archive", () => {
  expect(buildSpec(draft).spec).toMatchObject({ runtime: "python", code: draft.files["main.py"] });
  const two = { ...draft, files: { ...draft.files, "x.py": "1" } };
  expect(buildSpec(two).spec).toMatchObject({ files: two.files, entrypoint: "main.py" });
  const bytes = { ...draft, files: { ...draft.files, "x.bin": new Uint8Array([0]) } };
  expect(buildSpec(bytes).archive).toEqual(bytes.files);
});

test("what is not changed is not sent, and what is wrong is named", () => {
  expect(Object.keys(buildSpec(draft).spec).sort()).toEqual(["code", "input", "runtime"]);
  const wrong = { ...draft, input: "[1,", env: "1A=b", cpus: "0", memMb: "1.5", network: "allow" as const };
  expect(Object.keys(buildSpec(wrong).mistakes).sort()).toEqual(["allow", "cpus", "env", "input", "memMb"]);
  const set = { ...draft, env: "A=b=c\n", timeoutS: "5", maxOutputMb: "1", network: "allow" as const, allow: "10.0.0.0/8\nx:1" };
  expect(buildSpec(set).spec).toMatchObject({ env: { A: "b=c" }, resources: { timeout_s: 5, max_output_bytes: 1_048_576 }, network: { allow: ["10.0.0.0/8", "x:1"] } });
});

test("an input goes out as it was written", () => {
  expect(requestBody({ runtime: "node", code: "1", input: 1 }, "12345678901234567890")).toBe('{"runtime":"node","code":"1","input":12345678901234567890}');
  expect(requestBody({ runtime: "node", code: "1" }, null)).toBe('{"runtime":"node","code":"1"}');
});

test("files from outside replace an example and join a draft", () => {
  const added = { "README.md": "x", "src/app.go": "package main", "main.go": "package main" };
  expect(withFiles(draft, added)).toMatchObject({ runtime: "go", entrypoint: "main.go", files: added });
  const own = { ...draft, files: { "main.py": "print(1)" } };
  expect(withFiles(own, { "x.txt": "y" })).toMatchObject({ runtime: "python", entrypoint: "main.py", files: { "main.py": "print(1)", "x.txt": "y" } });
  expect(likelyEntry(["a/b/main.py", "tool.py", "notes.txt"])).toBe("tool.py");
  expect(runtimeOf("x.mts")).toBe("node");
});

test("snippets quote what shells and Python would read otherwise", () => {
  expect(shellQuote("it's $HOME")).toBe("'it'\\''s $HOME'");
  const spec = buildSpec({ ...draft, isolation: "gvisor", env: "A=b c" }).spec;
  expect(asCurl(spec, "http://h", null)).toContain("curl http://h/v1/workloads --json '{");
  expect(asCommand(spec, "http://127.0.0.1:8080", null)).toContain("--isolation gvisor");
  expect(asCommand({ ...spec, code: undefined, files: { "main.ts": "1", "x.ts": "2" } }, "", null)).toContain("caisson run \\\n  project.tar.gz");
  expect(asCommand(spec, "http://127.0.0.1:8080", null)).toContain("--env 'A=b c'");
  expect(asPython(spec, "http://h", null)).toContain('runtime="python",');
  expect(asCurl(spec, "http://h", "p.tar.gz", true)).toContain('-H "Authorization: Bearer $CAISSON_API_KEY"');
  expect(asCurl({ ...spec, args: ["a;b"] }, "http://h", "p.tar.gz")).toContain("--form-string 'spec={");
  const whole = buildSpec({ ...draft, input: "", stdin: "it's", diskMb: "64", args: "-x" }).spec;
  expect(asCommand(whole, "http://127.0.0.1:8080", null)).toBe("printf %s 'it'\\''s' | caisson run --stdin \\\n  main.py \\\n  --disk 64m \\\n  -- -x");
  const image = { runtime: "oci" as const, image: "i", args: ["-x"], command: ["sh"] };
  expect(asCommand(image, "http://127.0.0.1:8080", null)).toContain("--arg=-x \\\n  -- sh");
  expect(asPythonValue('a\nsay "x"', 0)).toBe('"a\\nsay \\"x\\""');
  expect(asPythonValue("a\r\nb", 0)).toBe('"a\\r\\nb"');
  expect(asPythonValue("a\nb", 0)).toBe('"""\\\na\nb"""');
  expect(asPythonValue({ a: [true, null, 'x"y'] }, 0)).toBe('{\n    "a": [True, None, "x\\"y"],\n}');
});
