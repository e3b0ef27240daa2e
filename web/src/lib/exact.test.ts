import { expect, test } from "vitest";

import { Exact, parseExact, toJson } from "./exact";

test.each(['{"id":9007199254740993,"f":1.0,"e":[1e400,-0]}', '["12345678901234567890",1.5,"\\"1.0\\"",{"1.0":2}]', "12345678901234567890", '"\\\\"', "null"])("%s comes back as it was", (text) => {
  expect(toJson(parseExact(text))).toBe(text);
});

test("only what a number cannot hold is something else", () => {
  expect(parseExact('[1,2.5,"2.50",2.50]')).toEqual([1, 2.5, "2.50", new Exact("2.50")]);
  expect(toJson({ a: new Exact("1.0") }, 2)).toBe('{\n  "a": 1.0\n}');
});

test("a mistake is where JSON.parse finds it, and long texts come to an end", () => {
  expect(() => parseExact('[1.0, oops]')).toThrow(/position 6|oops/);
  expect(parseExact(`["${"1.0 \\\\".repeat(1_000_000)}"]`)).toHaveLength(1);
});
