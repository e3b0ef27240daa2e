import { useCallback, useEffect, useRef, useState } from "react";

import { forgetDraft, keepDraft, keptDraft, PLAIN, type Draft } from "./draft";
import { exampleFor, EXAMPLES, type Example } from "./examples";
import { renamed } from "./names";
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

/** Something that was in the draft and is no longer, and how to have it again. */
export interface Lost {
  text: string;
  back: (now: Draft) => Draft;
}

export interface DraftActions {
  draft: Draft;
  lost: Lost | null;
  setLost: (lost: Lost | null) => void;
  /** True when the draft is too large to be kept over a reload. */
  tooLarge: boolean;
  change: (changes: Partial<Draft>) => void;
  edit: (path: string, content: Content) => void;
  create: (path: string) => void;
  /** Both take a folder as well. */
  rename: (from: string, to: string) => void;
  remove: (path: string) => void;
  add: (files: Files) => void;
  load: (draft: Draft) => void;
}

/** The draft of the page for a new workload: kept for the next visit, from a moment after each change. */
export function useDraft(): DraftActions {
  const [draft, setDraft] = useState<Draft>(() => keptDraft() ?? draftOf(exampleFor("node")));
  const [tooLarge, setTooLarge] = useState(false);
  const [lost, setLost] = useState<Lost | null>(null);
  const current = useRef(draft);
  current.current = draft;
  const kept = useRef(keptDraft() === null ? null : draft);
  useEffect(() => {
    // One that nobody changed here is not written over what another tab has kept since.
    if (kept.current === draft) return undefined;
    const keep = () => {
      kept.current = draft;
      setTooLarge(!keepDraft(draft));
    };
    const timer = setTimeout(keep, KEEP_AFTER_MS);
    window.addEventListener("pagehide", keep);
    return () => {
      clearTimeout(timer);
      window.removeEventListener("pagehide", keep);
      // A page that is left within that moment keeps what was typed, too.
      if (kept.current !== draft) keepDraft(draft);
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
        files: { ...before.files, [path]: "" },
        open: path,
        entrypoint: before.entrypoint in before.files ? before.entrypoint : path,
      })),
    [],
  );
  const rename = useCallback(
    (from: string, to: string) =>
      setDraft((before) => {
        const files = Object.fromEntries(Object.entries(before.files).map(([path, content]) => [renamed(path, from, to), content]));
        return { ...before, files, open: renamed(before.open, from, to), entrypoint: renamed(before.entrypoint, from, to) };
      }),
    [],
  );
  const remove = useCallback((path: string) => {
    const before = current.current;
    const stays = (name: string) => renamed(name, path, "") === name;
    const [files, gone] = [picked(before.files, stays), picked(before.files, (name) => !stays(name))];
    const next = Object.keys(files)[0] ?? "";
    setDraft({ ...before, files, open: stays(before.open) ? before.open : next, entrypoint: stays(before.entrypoint) ? before.entrypoint : next });
    setLost({ text: `${path} was thrown away.`, back: (now) => ({ ...now, files: { ...now.files, ...gone }, open: Object.keys(gone)[0] ?? now.open, entrypoint: before.entrypoint in gone ? before.entrypoint : now.entrypoint }) });
  }, []);
  const add = useCallback((added: Files) => {
    const before = current.current;
    setDraft(withFiles(before, added));
    const over = isExample(before.files) ? {} : picked(before.files, (name) => name in added && added[name] !== before.files[name]);
    const names = Object.keys(over);
    setLost(names.length === 0 ? null : { text: names.length === 1 ? `${names[0]} was replaced.` : `${names.length} files were replaced.`, back: (now) => ({ ...now, files: { ...now.files, ...over } }) });
  }, []);
  const load = useCallback((next: Draft) => {
    const before = current.current;
    forgetDraft();
    setDraft(next);
    setLost(isExample(before.files) ? null : { text: "Your draft was replaced.", back: () => before });
  }, []);
  return { draft, lost, setLost, tooLarge, change, edit, create, rename, remove, add, load };
}

function picked(files: Files, fits: (name: string) => boolean): Files {
  return Object.fromEntries(Object.entries(files).filter(([name]) => fits(name)));
}

/** True for files that can be had again, or are none. */
export function isExample(files: Files): boolean {
  return Object.keys(files).length === 0 || EXAMPLES.some((example) => JSON.stringify(example.files) === JSON.stringify(files));
}

/** The draft with files that came from outside. Into one that is still an example they come instead of it. */
export function withFiles(draft: Draft, added: Files): Draft {
  const names = Object.keys(added);
  if (names.length === 0) return draft;
  const pristine = isExample(draft.files);
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
