import { expect, test } from "vitest";

import { nameMistake, renamed } from "./names";

test("a file or folder takes a name that is free, and nothing else", () => {
  const names = ["main.py", "lib/a.py", "lib/deep/b.py", "data/a.py"];
  expect(nameMistake(names, null, "lib/c.py")).toBeNull();
  expect(nameMistake(names, null, "constructor")).toBeNull();
  expect(nameMistake(names, "lib", "lib/more")).toBeNull();
  expect(renamed("lib/deep/b.py", "lib", "lib/more")).toBe("lib/more/deep/b.py");
  expect(renamed("library.py", "lib", "x")).toBe("library.py");
  expect(nameMistake(names, "lib/a.py", "main.py")).toBe("There is a main.py already.");
  expect(nameMistake(names, "lib", "data")).toBe("There is a data/a.py already.");
  expect(nameMistake(names, null, "main.py/x.py")).toBe("main.py is a file.");
  expect(nameMistake(names, null, "lib")).toBe("lib is a folder.");
  expect(nameMistake(names, null, "../x")).not.toBeNull();
  expect(nameMistake(names, null, "ä".repeat(128))).toContain("255 bytes");
});
