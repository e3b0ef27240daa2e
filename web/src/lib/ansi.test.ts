import { expect, test } from "vitest";

import { parseAnsi, stripAnsi } from "./ansi";

const ESC = "\u001b";

test("colours and weights become pieces, and end where they are reset", () => {
  expect(parseAnsi(`a ${ESC}[1;31mb${ESC}[0m c`)).toEqual([{ text: "a " }, { text: "b", bold: true, color: "red" }, { text: " c" }]);
  expect(parseAnsi(`${ESC}[38;5;196mx${ESC}[48;2;1;2;3my`)).toEqual([
    { text: "x", color: "#ff0000" },
    { text: "y", color: "#ff0000", background: "#010203" },
  ]);
  expect(parseAnsi(`${ESC}[96mx${ESC}[39my`)).toEqual([{ text: "x", color: "bright-cyan" }, { text: "y", color: undefined }]);
});

test("what moves the cursor, retitles the window or links is dropped", () => {
  const line = `${ESC}[2J${ESC}]0;title\u0007${ESC}]8;;http://x${ESC}\\text${ESC}]8;;${ESC}\\${ESC}[3A`;
  expect(stripAnsi(line)).toBe("text");
  expect(parseAnsi(line).map((piece) => piece.text).join("")).toBe("text");
});

test("other control characters are shown, not obeyed", () => {
  expect(parseAnsi("a\u0000b\rc\u007f")).toEqual([{ text: "a\u2400b\u240dc\u2421" }]);
});

test("nothing a program writes reaches a style but names from a list and numbers", () => {
  for (const hostile of [`${ESC}[38;2;999;0;0mx`, `${ESC}[38;5;300mx`, `${ESC}[38;2;1e3;0;0mx`, `${ESC}[38mx`]) {
    expect(parseAnsi(hostile).every((piece) => piece.color === undefined || /^#[0-9a-f]{6}$/.test(piece.color))).toBe(true);
  }
});

test("what is shown the other way round is, until it is not", () => {
  expect(parseAnsi(`${ESC}[7mx${ESC}[27my`)).toEqual([{ text: "x", inverse: true }, { text: "y", inverse: undefined }]);
});
