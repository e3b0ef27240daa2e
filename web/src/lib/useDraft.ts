import { useCallback, useEffect, useState } from "react";

import { forgetDraft, keepDraft, keptDraft, PLAIN, type Draft } from "./draft";
import { exampleFor, EXAMPLES, type Example } from "./examples";
import { runtimeOf } from "./spec";
import type { Content, Files } from "./tar";

const KEEP_AFTER_MS = 300;

export function draftOf(example: Example): Draft {
  return {
    ...PLAIN,
    runtime: example.runtime,
    files: example.files,
    entrypoint: example.entrypoint,
    open: example.entrypoint,
    input: example.input ?? "",
    image: example.image ?? "",
    command: example.command ?? "",
  };
}

export interface DraftActions {
  draft: Draft;
  /** True when the draft is too large to be kept over a reload. */
  tooLarge: boolean;
  change: (changes: Partial<Draft>) => void;
  edit: (path: string, content: Content) => void;
  create: (path: string) => void;
  rename: (from: string, to: string) => void;
  remove: (path: string) => void;
  add: (files: Files) => void;
  load: (draft: Draft) => void;
}

/** The draft of the page for a new workload: kept for the next visit, from a moment after each change. */
export function useDraft(): DraftActions {
  const [draft, setDraft] = useState<Draft>(() => keptDraft() ?? draftOf(exampleFor("node")));
  const [tooLarge, setTooLarge] = useState(false);
  useEffect(() => {
    const keep = () => setTooLarge(!keepDraft(draft));
    const timer = setTimeout(keep, KEEP_AFTER_MS);
    window.addEventListener("pagehide", keep);
    return () => {
      clearTimeout(timer);
      window.removeEventListener("pagehide", keep);
      // A page that is left within that moment keeps what was typed, too.
      keepDraft(draft);
    };
  }, [draft]);
  const change = useCallback((changes: Partial<Draft>) => setDraft((before) => ({ ...before, ...changes })), []);
  const edit = useCallback(
    (path: string, content: Content) => setDraft((before) => (before.files[path] === content ? before : { ...before, files: { ...before.files, [path]: content } })),
    [],
  );
  const create = useCallback(
    (path: string) =>
      setDraft((before) => ({
        ...before,
        files: { ...before.files, [path]: before.files[path] ?? "" },
        open: path,
        entrypoint: before.entrypoint in before.files ? before.entrypoint : path,
      })),
    [],
  );
  const rename = useCallback(
    (from: string, to: string) =>
      setDraft((before) => {
        const moved = before.files[from];
        if (moved === undefined || to in before.files) return before;
        const files = Object.fromEntries(Object.entries(before.files).map(([path, content]) => [path === from ? to : path, content]));
        return { ...before, files, open: before.open === from ? to : before.open, entrypoint: before.entrypoint === from ? to : before.entrypoint };
      }),
    [],
  );
  const remove = useCallback(
    (path: string) =>
      setDraft((before) => {
        const files = Object.fromEntries(Object.entries(before.files).filter(([name]) => name !== path));
        const next = Object.keys(files)[0] ?? "";
        return { ...before, files, open: before.open === path ? next : before.open, entrypoint: before.entrypoint === path ? next : before.entrypoint };
      }),
    [],
  );
  const add = useCallback((added: Files) => setDraft((before) => withFiles(before, added)), []);
  const load = useCallback((next: Draft) => {
    forgetDraft();
    setDraft(next);
  }, []);
  return { draft, tooLarge, change, edit, create, rename, remove, add, load };
}

/** The draft with files that came from outside. Into one that is still an example they come instead of it. */
export function withFiles(draft: Draft, added: Files): Draft {
  const names = Object.keys(added);
  if (names.length === 0) return draft;
  const pristine = EXAMPLES.some((example) => JSON.stringify(example.files) === JSON.stringify(draft.files));
  const files = pristine ? added : { ...draft.files, ...added };
  const entrypoint = pristine || !(draft.entrypoint in files) ? likelyEntry(Object.keys(files)) : draft.entrypoint;
  const runtime = pristine ? (runtimeOf(entrypoint) ?? draft.runtime) : draft.runtime;
  return { ...draft, files, runtime, entrypoint, open: pristine ? entrypoint : (names[0] ?? draft.open) };
}

/** The file that is most likely the one to run. */
export function likelyEntry(names: readonly string[]): string {
  const rank = (name: string) => {
    const stem = (name.split("/").pop() ?? "").replace(/\.[^.]*$/, "");
    const order = ["main", "index", "app", "__main__"].indexOf(stem);
    return (runtimeOf(name) === null ? 1000 : 0) + name.split("/").length * 10 + (order < 0 ? 9 : order);
  };
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))[0] ?? "";
}
