import { expect, test } from "vitest";

import { LogStore } from "./logstore";
import { contentPx, Folding, scrollFor, topRow, width } from "./rows";

const line = (seq: number) => ({ seq, stream: seq % 2 ? ("stderr" as const) : ("stdout" as const), line: `line ${seq}`, ts: "2026-01-02T03:04:05.006Z" });

test("lines are kept once, in order, and a gap is noticed", () => {
  const store = new LogStore("x");
  for (let seq = 0; seq < 10_000; seq++) expect(store.add(line(seq))).toBe(true);
  expect(store.add(line(5))).toBe(true);
  expect(store.add(line(10_001))).toBe(false);
  expect(store.length).toBe(10_000);
  expect([store.text(9_999), store.isError(9_999), store.isError(2)]).toEqual(["line 9999", true, false]);
  expect(store.time(3)).toBe(Date.parse("2026-01-02T03:04:05.006Z"));
  expect(store.slice(1, 3)).toBe("line 1\nline 2\n");
});

test("listeners hear of lines later and together, but at once before they hear that there are no more", async () => {
  const store = new LogStore("x");
  const heard: number[] = [];
  store.subscribe(() => heard.push(store.shown()));
  for (const seq of [0, 1]) {
    store.add(line(seq));
    store.tell();
  }
  expect(store.shown()).toBe(0);
  store.tellNow();
  expect(store.shown()).toBe(2);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(heard).toEqual([2]);
});

test("folded lines take as many rows as they need", () => {
  const lengths = [5, 25, 0, 10];
  const folding = new Folding(10, (at) => lengths[at] ?? 0);
  expect([0, 1, 2, 3, 4].map((at) => folding.rowOf(at))).toEqual([0, 1, 4, 5, 6]);
  expect([0, 1, 3, 4, 5, 9].map((row) => folding.lineAt(row, 4))).toEqual([0, 1, 1, 2, 3, 3]);
});

test.each([10, 1_000, 1_000_000, 50_000_000])("%d rows scroll from the first to the last", (rows) => {
  const geometry = { rows, rowPx: 19, viewPx: 400 };
  const most = contentPx(geometry) - geometry.viewPx;
  expect(contentPx(geometry)).toBeLessThanOrEqual(15_000_000);
  expect(topRow(geometry, 0)).toBe(0);
  expect(topRow(geometry, most) * 19 + 400).toBeCloseTo(Math.max(400, rows * 19), 0);
  const row = Math.floor(rows / 3);
  if (rows > 100) expect(topRow(geometry, scrollFor(geometry, row))).toBeCloseTo(row, 3);
});

test("wide characters and tabs are as wide as they are shown", () => {
  expect([width("abc"), width("日本"), width("a\tb"), width("😀")]).toEqual([3, 4, 9, 2]);
});
