import { expect, test } from "vitest";

import { EventParser } from "./sse";

const STREAM = ':\n\nid: 0\ndata: {"a":1}\n\nid: 1\r\ndata: two\r\ndata: lines\r\n\r\nevent: done\ndata: {}\n\n';
const EVENTS = [
  { name: "message", id: "0", data: '{"a":1}' },
  { name: "message", id: "1", data: "two\nlines" },
  { name: "done", id: null, data: "{}" },
];

test("events are the same wherever the text is cut", () => {
  const plain = STREAM.replaceAll("\r", "");
  for (let size = 1; size < plain.length; size++) {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < plain.length; at += size) found.push(...parser.push(plain.slice(at, at + size)));
    expect(found).toEqual(EVENTS);
  }
});

test("lines may end as on other systems", () => {
  expect(new EventParser().push(STREAM)).toEqual(EVENTS);
});

test("half an event is no event", () => {
  expect(new EventParser().push("id: 7\ndata: x\n")).toEqual([]);
});
