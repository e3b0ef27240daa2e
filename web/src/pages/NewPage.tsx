import { useMutation } from "@tanstack/react-query";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";

import { ApiError } from "@/api/client";
import { queryClient, specOf, submit, useWorkload, type Submission } from "@/api/queries";
import { RUNTIMES, type Runtime } from "@/api/types";
import { FileTree, Named } from "@/components/FileTree";
import { Icon } from "@/components/Icon";
import { IsolationPicker } from "@/components/IsolationPicker";
import { ResultPanel } from "@/components/ResultPanel";
import { Snippets } from "@/components/Snippets";
import { SpecFields } from "@/components/SpecFields";
import { Button, Empty, Labelled, Notice, PageHead, Select, Skeleton } from "@/components/ui";
import { bytes } from "@/lib/format";
import { draftOfSpec, lacksCode } from "@/lib/draftOfSpec";
import { exampleFor, EXAMPLES } from "@/lib/examples";
import { chosen, dropped } from "@/lib/incoming";
import type { LogStore } from "@/lib/logstore";
import { goQuery, usePlace } from "@/lib/router";
import { save } from "@/lib/save";
import { DOWNLOAD } from "@/lib/snippets";
import { buildSpec, runtimeOf } from "@/lib/spec";
import { gzip, packTar } from "@/lib/tar";
import { lastLines, markers, spotsIn, type Spot } from "@/lib/traceback";
import { draftOf, isExample, useDraft } from "@/lib/useDraft";

const CodeEditor = lazy(() => import("@/components/editor/CodeEditor"));

const RUNTIME_TITLES: Record<Runtime, string> = { python: "Python", node: "JavaScript, TypeScript", go: "Go", bash: "Shell", wasm: "WebAssembly", oci: "OCI image" };

/** Where the result has its place beside the editor: what `lg:` is in the styles. */
const BESIDE = "(min-width: 64rem)";

/** Write, run, and see what came of it, without leaving the page. */
export default function NewPage() {
  const { query } = usePlace();
  const actions = useDraft();
  const { draft, change, load } = actions;
  const [target, setTarget] = useState<Spot | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [showMistakes, setShowMistakes] = useState(false);
  const built = useMemo(() => buildSpec(draft), [draft]);
  const names = useMemo(() => new Set(Object.keys(draft.files)), [draft.files]);
  const [reveal, setReveal] = useState(0);
  // It stays while the next one is sent, and if that cannot be sent.
  const [ran, setRan] = useState<{ id: string; names: ReadonlySet<string> } | null>(null);
  const run = useMutation({
    mutationFn: (wish: Submission & { names: string[] }) => submit(wish),
    onSuccess: (workload, wish) => {
      queryClient.setQueryData(["workload", workload.id], workload);
      setRan({ id: workload.id, names: new Set(wish.names) });
    },
  });
  const runId = ran?.id ?? null;
  const { data: last } = useWorkload(runId);
  const isOci = draft.runtime === "oci";
  const result = useRef<HTMLElement>(null);

  useEffect(() => {
    // On a narrow page the result is below the editor, where nobody would see it come.
    if (runId && !window.matchMedia(BESIDE).matches) result.current?.scrollIntoView();
  }, [runId]);

  const from = query.get("from");
  useEffect(() => {
    if (!from) return;
    specOf(from).then(
      (spec) => {
        goQuery({ from: null }, { replace: true });
        if (lacksCode(spec)) setTrouble("Its code came as an archive, which the server does not keep. Everything else is here.");
        load(draftOfSpec(spec));
      },
      (error: Error) => (goQuery({ from: null }, { replace: true }), setTrouble(error.message)),
    );
  }, [from, load]);

  const { mutate, reset } = run;
  const { setLost } = actions;
  const start = useCallback(() => {
    setShowMistakes(true);
    setLost(null);
    if (Object.keys(built.mistakes).length > 0) {
      reset();
      setReveal((before) => before + 1);
      return;
    }
    mutate({ spec: built.spec, input: draft.input.trim() === "" ? null : draft.input.trim(), archive: built.archive, names: Object.keys(draft.files) });
  }, [built, draft.files, draft.input, mutate, reset, setLost]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
        event.preventDefault();
        start();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [start]);

  const spots = useCallback((text: string) => spotsIn(text, names), [names]);
  const onSpot = useCallback(
    (spot: Spot) => {
      change({ open: spot.path });
      setTarget({ ...spot });
    },
    [change],
  );
  // The files as they were run: a marker belongs to them, not to what they are renamed to since.
  const [log, setLog] = useState<LogStore | null>(null);
  const found = useMemo(
    () => (runId === null ? [] : markers([...(last?.error ? [last.error.message] : []), ...(log?.id === runId ? lastLines(log) : [])], ran?.names ?? new Set())),
    [runId, last?.error, log, ran],
  );
  const named = useMemo(() => new Set(found.map((spot) => spot.path)), [found]);
  const failed = last?.status !== "completed";
  const receive = (coming: Promise<Record<string, string | Uint8Array<ArrayBuffer>>>) => {
    setTrouble(null);
    coming.then(actions.add, (error: Error) => setTrouble(`It cannot be read: ${error.message}`));
  };
  const download = async () => save(DOWNLOAD, [await gzip(packTar(draft.files, Math.floor(Date.now() / 1000)))], "application/gzip");
  const pickRuntime = (runtime: Runtime) => {
    if (isExample(draft.files)) load({ ...draftOf(exampleFor(runtime)), isolation: draft.isolation });
    else change({ runtime });
  };
  const content = draft.files[draft.open];
  const mistakes = showMistakes ? built.mistakes : built.mistakes.input ? { input: built.mistakes.input } : {};
  const inferred = runtimeOf(draft.entrypoint);

  return (
    <div>
      <PageHead title="New workload">
        <Select
          label="Example"
          testId="example"
          value=""
          onChange={(id) => {
            const example = EXAMPLES.find((one) => one.id === id);
            if (example) load(draftOf(example));
          }}
          options={[{ value: "", title: "Examples…" }, ...EXAMPLES.map((example) => ({ value: example.id, title: example.title }))]}
        />
        <Button look="primary" icon="play" testId="run" disabled={run.isPending} onClick={start} title="Ctrl-Enter">
          Run <kbd className="hidden font-sans text-[11px] font-normal sm:inline">Ctrl ↵</kbd>
        </Button>
      </PageHead>
      <div className="mb-3 flex flex-wrap items-start gap-x-4 gap-y-2">
        <Select label="Runtime" testId="runtime" value={draft.runtime} onChange={pickRuntime} options={RUNTIMES.map((runtime) => ({ value: runtime, title: RUNTIME_TITLES[runtime] }))} />
        <IsolationPicker runtime={draft.runtime} network={draft.network} value={draft.isolation} onChange={(isolation) => change({ isolation })} />
      </div>
      <div className="space-y-2 empty:hidden">
        {trouble ? <Notice kind="warn" testId="trouble">{trouble}</Notice> : null}
        {actions.lost ? (
          <Notice kind="info" testId="lost">
            {actions.lost.text}{" "}
            <button
              type="button"
              data-testid="undo"
              className="text-info underline"
              onClick={() => {
                if (actions.lost) change(actions.lost.back(draft));
                setLost(null);
              }}
            >
              Undo
            </button>
          </Notice>
        ) : null}
        {actions.tooLarge ? <Notice kind="warn">These files are too large to be kept over a reload. Download them before you leave.</Notice> : null}
        {run.error ? (
          <Notice kind="bad" testId="refusal" title={run.error instanceof ApiError && !run.error.offline ? "The server refused it" : "It could not be sent"}>
            {run.error.message}
          </Notice>
        ) : null}
        {showMistakes && (built.mistakes.files ?? built.mistakes.entrypoint) ? <Notice kind="bad" testId="mistake">{built.mistakes.files ?? built.mistakes.entrypoint}</Notice> : null}
        {!isOci && inferred !== null && inferred !== draft.runtime && draft.runtime !== "wasm" ? (
          <Notice kind="warn">
            {draft.entrypoint} looks like {RUNTIME_TITLES[inferred]}.{" "}
            <button type="button" className="text-info underline" onClick={() => change({ runtime: inferred })}>
              Use that
            </button>
          </Notice>
        ) : null}
      </div>
      <div className="mt-3 grid gap-3 lg:grid-cols-[minmax(0,1.25fr)_minmax(0,1fr)]">
        <div className="flex min-w-0 flex-col gap-3">
          {isOci ? (
            <ImageFields draft={draft} change={change} mistakes={mistakes} />
          ) : (
            <div className="card grid h-[56vh] min-h-80 grid-rows-[auto_minmax(0,1fr)] overflow-hidden sm:h-[46vh] sm:grid-cols-[164px_minmax(0,1fr)] sm:grid-rows-1">
              <div className="max-h-32 min-h-0 overflow-hidden border-b border-line sm:max-h-none sm:border-r sm:border-b-0">
                <FileTree
                  files={draft.files}
                  open={draft.open}
                  entrypoint={draft.entrypoint}
                  named={named}
                  failed={failed}
                  onTrouble={setTrouble}
                  onOpen={(open) => change({ open })}
                  onEntry={(entrypoint) => change({ entrypoint })}
                  onCreate={actions.create}
                  onRename={actions.rename}
                  onDelete={actions.remove}
                  onDrop={(data) => receive(dropped(data))}
                  onUpload={(list) => receive(chosen(list))}
                  onDownload={() => void download()}
                />
              </div>
              <div className="flex min-h-0 min-w-0 flex-col">
                <FileTabs files={Object.keys(draft.files)} open={draft.open} entrypoint={draft.entrypoint} named={named} failed={failed} onOpen={(open) => change({ open })} />
                <div className="min-h-0 flex-1">
                  {typeof content === "string" ? (
                    <Suspense fallback={<Skeleton rows={5} />}>
                      <CodeEditor path={draft.open} text={content} onChange={actions.edit} onRun={start} markers={found} failed={failed} target={target} label={`Text of ${draft.open}`} />
                    </Suspense>
                  ) : content === undefined ? (
                    <Empty title="No file is open">Make one, or drop files, a folder, a tar.gz or a zip onto the list.</Empty>
                  ) : (
                    <Empty title={draft.open}>This file is no text: {bytes(content.length)}. It is sent as it is.</Empty>
                  )}
                </div>
              </div>
            </div>
          )}
          <SpecFields draft={draft} mistakes={mistakes} change={change} reveal={reveal} snippets={<Snippets spec={built.spec} archive={built.archive !== null} />} />
        </div>
        <section ref={result} className="card flex min-h-96 min-w-0 scroll-mt-16 flex-col lg:sticky lg:top-4 lg:h-[calc(100dvh-9rem)]" aria-label="Result">
          {runId ? (
            <ResultPanel key={runId} id={runId} spots={spots} onSpot={onSpot} onLog={setLog} />
          ) : (
            <Empty title="Nothing was run yet" testId="result-empty">
              Run it with the button or Ctrl-Enter. State, output and log appear here while it runs.
            </Empty>
          )}
        </section>
      </div>
    </div>
  );
}

interface FileTabsProps {
  files: readonly string[];
  open: string;
  entrypoint: string;
  named: ReadonlySet<string>;
  failed: boolean;
  onOpen: (path: string) => void;
}

function FileTabs({ files, open, entrypoint, named, failed, onOpen }: FileTabsProps) {
  const shown = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    shown.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [open]);
  return (
    <div className="flex h-[37px] shrink-0 items-stretch overflow-x-auto border-b border-line" role="group" aria-label="Open files">
      {files.map((path) => (
        <button
          key={path}
          type="button"
          ref={path === open ? shown : undefined}
          aria-pressed={path === open}
          data-testid="tab"
          data-path={path}
          onClick={() => onOpen(path)}
          className={`flex items-center gap-1.5 border-r border-line px-3 font-mono text-xs whitespace-nowrap ${path === open ? "bg-raised text-ink" : "text-muted hover:text-ink"}`}
        >
          {path === entrypoint ? <Icon name="play" size={11} className="text-accent" /> : null}
          {path}
          {named.has(path) ? <Named failed={failed} /> : null}
        </button>
      ))}
    </div>
  );
}

function ImageFields({ draft, change, mistakes }: Pick<Parameters<typeof SpecFields>[0], "draft" | "change" | "mistakes">) {
  return (
    <section className="card space-y-3 p-3">
      <Labelled label="Image" mistake={mistakes.image} hint="As a container tool would name it.">
        {(attributes) => <input {...attributes} data-testid="field-image" spellCheck={false} value={draft.image} onChange={(event) => change({ image: event.target.value })} className="field font-mono text-xs" />}
      </Labelled>
      <Labelled label="Command" hint="One word in a line; the image's own if empty.">
        {(attributes) => <textarea {...attributes} data-testid="field-command" rows={4} spellCheck={false} value={draft.command} onChange={(event) => change({ command: event.target.value })} className="field font-mono text-xs leading-5" />}
      </Labelled>
    </section>
  );
}
