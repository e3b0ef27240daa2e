import { go } from "@codemirror/lang-go";
import { javascript } from "@codemirror/lang-javascript";
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { StreamLanguage } from "@codemirror/language";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import type { Extension } from "@codemirror/state";

/** The language of a file, as its name tells. */
export function languageOf(path: string): Extension {
  const suffix = path.slice(path.lastIndexOf(".") + 1).toLowerCase();
  if (suffix === "py" || suffix === "pyi") return python();
  if (["js", "mjs", "cjs", "jsx"].includes(suffix)) return javascript({ jsx: suffix === "jsx" });
  if (["ts", "mts", "cts", "tsx"].includes(suffix)) return javascript({ typescript: true, jsx: suffix === "tsx" });
  if (suffix === "go") return go();
  if (suffix === "sh" || suffix === "bash") return StreamLanguage.define(shell);
  if (suffix === "json") return json();
  return [];
}
