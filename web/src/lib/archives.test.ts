import { execFileSync } from "node:child_process";
import { deflateRawSync } from "node:zlib";

import { expect, test } from "vitest";

import { withoutCommonFolder } from "./incoming";
import { cleanPath, fromBytes, gunzip, gzip, packTar, unpackTar, type Files } from "./tar";
import { unpackZip } from "./zip";

const FILES: Files = {
  "main.ts": "export default 1;\n",
  "lib/größe.txt": "ä",
  "data.bin": new Uint8Array([0, 1, 255]),
  [`${"long/".repeat(30)}name.txt`]: "long",
};

test("what is packed is what comes out again", async () => {
  expect(unpackTar(await gunzip(await gzip(packTar(FILES))))).toEqual(FILES);
});

test("tar reads what is packed", () => {
  const names = execFileSync("tar", ["-tf", "-"], { input: packTar(FILES), env: { ...process.env, LC_ALL: "C.UTF-8" } });
  expect(names.toString().trim().split("\n").length).toBe(Object.keys(FILES).length);
});

test("names that lead out are left out", () => {
  expect(cleanPath("../x")).toBeNull();
  expect(cleanPath("a/../../x")).toBeNull();
  expect(cleanPath("/etc//passwd")).toBe("etc/passwd");
  expect(cleanPath("a\\b")).toBe("a/b");
  expect(cleanPath("")).toBeNull();
  expect(cleanPath("__proto__")).toBeNull();
});

test("what is no archive is said to be none", async () => {
  expect(() => unpackTar(new TextEncoder().encode("x".repeat(2000)))).toThrow("not a tar");
  await expect(unpackZip(new TextEncoder().encode("x".repeat(2000)))).rejects.toThrow("not a zip");
});

test("a zip is read, stored and deflated", async () => {
  expect(await unpackZip(zip({ "a/main.py": "print(1)\n", "a/x.txt": "x".repeat(500) }))).toEqual({ "a/main.py": "print(1)\n", "a/x.txt": "x".repeat(500) });
});

test("one folder around everything is taken off", () => {
  expect(withoutCommonFolder({ "p/a": "1", "p/b/c": "2" })).toEqual({ a: "1", "b/c": "2" });
  expect(withoutCommonFolder({ "p/a": "1", q: "2" })).toEqual({ "p/a": "1", q: "2" });
});

test("what macOS adds is left out", () => {
  expect(withoutCommonFolder({ "__MACOSX/p/._a": "1", "p/.DS_Store": "2", "p/a": "3" })).toEqual({ a: "3" });
});

test("bytes are text only if they are", () => {
  expect(fromBytes(new TextEncoder().encode("ä"))).toBe("ä");
  expect(fromBytes(new Uint8Array([255]))).toBeInstanceOf(Uint8Array);
});

function zip(files: Record<string, string>): Uint8Array<ArrayBuffer> {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let at = 0;
  for (const [name, text] of Object.entries(files)) {
    const packed = text.length > 100 ? deflateRawSync(text) : Buffer.from(text);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(text.length > 100 ? 8 : 0, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    entries.push(entry, Buffer.from(name));
    parts.push(head, Buffer.from(name), packed);
    at += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...parts, ...entries, end]));
}
