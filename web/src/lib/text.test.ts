import { expect, test } from "vitest";

import { ago, bytes, duration, percent } from "./format";
import { parseInline, parseMarkdown, slug } from "./markdown";
import { toSeries } from "./series";

test("durations have three figures and a unit", () => {
  expect([0.314, 4.24, 42.4, 1234, 12_345, 200_000, 600_000, 7_400_000, 7_200_000, null].map(duration)).toEqual(["0.31 ms", "4.2 ms", "42 ms", "1.23 s", "12.3 s", "3 min 20 s", "10 min", "2 h 3 min", "2 h", "–"]);
  expect([512, 2048, 5 * 1024 ** 3].map(bytes)).toEqual(["512 B", "2.0 KiB", "5.0 GiB"]);
  expect([1, 0.5, 0.9999, 0 / 0].map(percent)).toEqual(["100 %", "50.0 %", "99.99 %", "–"]);
  expect(ago(0, 61_000)).toBe("1 min ago");
});

test("the Markdown of the project's pages becomes a tree", () => {
  const blocks = parseMarkdown("# A `b`\n\nOne\ntwo.\n\n| `x` | y |\n| --- | --- |\n| a \\| b | [c](d.md#e) |\n\n- one\n  more\n- two\n\n```sh\n# no heading\n```\n");
  expect(blocks.map((block) => block.kind)).toEqual(["heading", "paragraph", "table", "list", "code"]);
  expect(blocks[2]).toMatchObject({ rows: [[[{ kind: "text", text: "a | b" }], [{ kind: "link", href: "d.md#e" }]]] });
  expect(blocks[3]).toMatchObject({ items: [[{ text: "one more" }], [{ text: "two" }]] });
  expect(parseInline('<a id="timeout"></a>`timeout`')).toEqual([{ kind: "anchor", id: "timeout" }, { kind: "code", text: "timeout" }]);
  expect(parseInline("<img src=x>")).toEqual([{ kind: "text", text: "<img src=x>" }]);
  expect(slug("Who may talk to the `server`?")).toBe("who-may-talk-to-the-server");
});

test("points become columns, with quiet intervals between them", () => {
  const point = { isolation: "isolate", start: "warm", completed: 2, failed: 1, killed: 1, p50_ms: 3, p90_ms: 4, p99_ms: 5, t: "1970-01-01T00:02:00Z" } as const;
  const series = toSeries([point], 60, 300, 185);
  expect(series.times).toEqual([-60, 0, 60, 120, 180]);
  expect(series.completed).toEqual([0, 0, 0, 2, 0]);
  expect(series.failed).toEqual([0, 0, 0, 2, 0]);
  expect(series.latency).toEqual([{ isolation: "isolate", start: "warm", values: [null, null, null, 3, null] }]);
});
