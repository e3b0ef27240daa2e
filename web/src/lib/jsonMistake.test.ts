import { expect, test } from "vitest";

import { faultIn, jsonMistake } from "./jsonMistake";

test("a mistake in JSON tells where it is", () => {
  const text = '{\n  "a": 1,\n  oops\n}';
  try {
    JSON.parse(text);
  } catch (error) {
    expect(jsonMistake(text, error)).toContain("line 3, column 3");
  }
});

test.each([
  ['{"a":', 5],
  ["nope", 0],
  ["[1, 2,]", 6],
  ['{"a": tru}', 6],
  ["[01]", 1],
  ['"ab\\x"', 0],
  ['{"a": [1, {"b": null}], "c": -1.5e3} x', 37],
])("%s stops being JSON at %d", (text, at) => {
  expect(faultIn(text)).toBe(at);
});
