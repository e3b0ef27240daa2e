import { useEffect, useState } from "react";

import { request } from "@/api/client";
import { useBenchmark, useBenchmarks, useCancelBenchmark, useStartBenchmark, type BenchmarkWish } from "@/api/benchmarks";
import { useBackends } from "@/api/queries";
import type { Benchmark, BenchmarkHead } from "@/api/types";
import { BenchmarkResults } from "@/components/BenchmarkResults";
import { CopyButton } from "@/components/CopyButton";
import { Icon } from "@/components/Icon";
import { RelativeTime } from "@/components/Time";
import { Button, Card, Empty, Labelled, Notice, PageHead, Select, Skeleton } from "@/components/ui";
import { keptDraft } from "@/lib/draft";
import { go, Link } from "@/lib/router";
import { save } from "@/lib/save";
import { buildSpec } from "@/lib/spec";

/** What the server takes. */
const MOST_RUNS = 200;
const MOST_CLIENTS = 64;

/** The same program on every isolation, measured, with the bare process beside them. */
export default function ComparePage({ id }: { id: string | null }) {
  const list = useBenchmarks();
  const shownId = id ?? list.data?.benchmarks[0]?.id ?? null;
  const { data: benchmark, error } = useBenchmark(shownId);
  return (
    <div data-testid="compare">
      <PageHead title="Compare" note="the same program on every isolation" />
      <div className="grid grid-cols-1 gap-3 xl:grid-cols-[minmax(0,1fr)_230px] xl:grid-rows-[auto_1fr]">
        <StartForm busy={benchmark?.status === "running"} />
        {list.data ? <History benchmarks={list.data.benchmarks} shown={shownId} /> : null}
        <div className="flex min-w-0 flex-col gap-3 xl:col-start-1">
          {error ?? list.error ? <Notice kind="bad" title="It cannot be read">{(error ?? list.error)?.message}</Notice> : null}
          {benchmark ? (
            <Shown benchmark={benchmark} />
          ) : list.isPending ? (
            <Skeleton rows={6} />
          ) : list.data && shownId === null ? (
            <Card>
              <Empty title="Nothing was compared yet">Start the suite above: it takes a minute for each isolation, and several where machines are emulated.</Empty>
            </Card>
          ) : null}
        </div>
      </div>
    </div>
  );
}

function StartForm({ busy }: { busy: boolean }) {
  const [what, setWhat] = useState<"suite" | "draft">("suite");
  const [runs, setRuns] = useState("10");
  const [clients, setClients] = useState("4");
  const start = useStartBenchmark();
  const { data: backends } = useBackends();
  const draft = keptDraft();
  const own = what === "draft" ? draft : null;
  const able = (backends ?? []).filter((backend) => backend.available && (own === null || backend.runtimes.includes(own.runtime))).map((backend) => backend.isolation);
  const [mistakes, setMistakes] = useState<{ runs?: string; clients?: string }>({});
  const { reset } = start;
  // That another one runs is true no longer.
  useEffect(() => (busy ? reset : undefined), [busy, reset]);
  const [trouble, setTrouble] = useState<string | null>(null);
  const begin = () => {
    setTrouble(null);
    const wrong = { ...(isCount(runs, MOST_RUNS) ? {} : { runs: `1 to ${MOST_RUNS}.` }), ...(isCount(clients, MOST_CLIENTS) ? {} : { clients: `1 to ${MOST_CLIENTS}.` }) };
    setMistakes(wrong);
    if (Object.keys(wrong).length > 0) return undefined;
    const wish: BenchmarkWish = { runs: Number(runs), clients: Number(clients) };
    if (what === "draft" && draft) {
      const { spec, archive, mistakes } = buildSpec(draft);
      const mistake = Object.values(mistakes)[0];
      if (mistake !== undefined || archive !== null) return setTrouble(mistake ?? "The draft's files are too large or no text.");
      wish.workload = spec;
    }
    start.mutate(wish, { onSuccess: (benchmark) => go(`/compare/${benchmark.id}`) });
    return undefined;
  };
  return (
    <Card>
      <div className="flex flex-wrap items-start gap-3">
        <div>
          <div className="mb-1 text-xs font-medium text-muted">Program</div>
          <Select
            label="Program"
            testId="compare-what"
            value={what}
            onChange={setWhat}
            options={[
              { value: "suite", title: "The built-in suite" },
              ...(draft ? [{ value: "draft" as const, title: `The draft: ${draft.entrypoint || draft.image}` }] : []),
            ]}
          />
        </div>
        <div className="w-20">
          <Labelled label="Runs" mistake={mistakes.runs}>{(attributes) => <input {...attributes} inputMode="numeric" data-testid="compare-runs" value={runs} onChange={(event) => setRuns(event.target.value)} className="field tabular" />}</Labelled>
        </div>
        <div className="w-20">
          <Labelled label="Clients" mistake={mistakes.clients}>{(attributes) => <input {...attributes} inputMode="numeric" data-testid="compare-clients" value={clients} onChange={(event) => setClients(event.target.value)} className="field tabular" />}</Labelled>
        </div>
        <div className="flex flex-1 sm:mt-[20px] flex-wrap items-center gap-3">
          <span className="text-xs text-muted">{able.length > 0 ? `on ${able.join(", ")}${own === null ? " and the bare process" : ""}` : ""}</span>
          <span className="ml-auto">
            <Button look="primary" icon="play" testId="compare-start" disabled={start.isPending} onClick={begin}>
              Compare
            </Button>
          </span>
        </div>
      </div>
      {trouble ?? start.error ? (
        <div className="mt-2">
          <Notice kind="bad" testId="compare-refusal">
            {trouble ?? start.error?.message}
          </Notice>
        </div>
      ) : null}
    </Card>
  );
}

function isCount(text: string, most: number): boolean {
  return /^\d+$/.test(text.trim()) && Number(text) >= 1 && Number(text) <= most;
}

function Shown({ benchmark }: { benchmark: Benchmark }) {
  const { progress } = benchmark;
  const running = benchmark.status === "running";
  const cancel = useCancelBenchmark();
  const share = progress.total > 0 ? progress.done / progress.total : 0;
  const exportCsv = async () => {
    const answer = await request(`/v1/benchmarks/${benchmark.id}`, { headers: { Accept: "text/csv" } });
    save(`benchmark-${benchmark.id}.csv`, [await answer.blob()], "text/csv");
  };
  return (
    <div data-testid="benchmark" data-status={benchmark.status} className="flex min-w-0 flex-col gap-3">
      <Card
        title={<span className="font-mono text-xs">{benchmark.id}</span>}
        note={<RelativeTime at={benchmark.created_at} />}
        actions={
          <>
            <Button look="quiet" icon="download" testId="export-json" onClick={() => save(`benchmark-${benchmark.id}.json`, [JSON.stringify(benchmark, null, 2)], "application/json")}>
              JSON
            </Button>
            <Button look="quiet" icon="download" testId="export-csv" onClick={() => void exportCsv()}>
              CSV
            </Button>
            {running ? (
              <Button look="danger" icon="stop" testId="compare-cancel" disabled={cancel.isPending} onClick={() => cancel.mutate(benchmark.id)}>
                Cancel
              </Button>
            ) : null}
          </>
        }
      >
        <div className="space-y-2 text-[13px]">
          {running ? (
            <div role="status">
              <div className="mb-1 flex justify-between text-xs">
                <span data-testid="compare-now">{progress.program ? `${progress.program} on ${progress.subject ?? ""}: ${(progress.measure ?? "").replace("_", " ")}` : "beginning"}</span>
                <span className="tabular text-muted">
                  {progress.done} of {progress.total} runs
                </span>
              </div>
              <div className="h-1.5 overflow-hidden rounded-full bg-raised">
                <div className="h-full rounded-full bg-accent" style={{ width: `${share * 100}%` }} />
              </div>
            </div>
          ) : null}
          {benchmark.error ? <Notice kind="bad">{benchmark.error}</Notice> : null}
          <div className="flex items-center gap-1 rounded-md border border-line bg-ground px-2 py-0.5 font-mono text-xs">
            <span className="min-w-0 flex-1 overflow-x-auto whitespace-nowrap" tabIndex={0} role="group" aria-label="The command that measures the same again">
              {benchmark.command}
            </span>
            <CopyButton label="Copy the command" testId="copy-command" text={() => benchmark.command} />
          </div>
          <details className="text-xs text-muted">
            <summary className="w-fit rounded">Measured on</summary>
            <dl className="mt-1 grid grid-cols-[auto_1fr] gap-x-4 gap-y-0.5 pl-3">
              {Object.entries(benchmark.host).map(([name, value]) => (
                <div key={name} className="contents">
                  <dt>{name}</dt>
                  <dd className="text-ink">{value}</dd>
                </div>
              ))}
            </dl>
          </details>
        </div>
      </Card>
      <BenchmarkResults results={benchmark.results} />
    </div>
  );
}

const STATUS_ICONS = { running: "again", completed: "check", failed: "cross", cancelled: "stop" } as const;
const STATUS_COLORS = { running: "text-info", completed: "text-ok", failed: "text-bad", cancelled: "text-warn" } as const;

function History({ benchmarks, shown }: { benchmarks: readonly BenchmarkHead[]; shown: string | null }) {
  return (
    <Card title="History" flush testId="history" className="self-start xl:col-start-2 xl:row-span-2 xl:row-start-1">
      {benchmarks.length === 0 ? (
        <p className="px-3 py-2.5 text-[13px] text-muted">None yet.</p>
      ) : (
        <ul className="max-h-36 overflow-y-auto xl:max-h-[70vh]">
          {benchmarks.map((benchmark) => (
            <li key={benchmark.id} className="border-b border-line/70 last:border-0">
              <Link href={`/compare/${benchmark.id}`} data-testid="history-entry" aria-current={benchmark.id === shown} className={`flex items-center gap-2 px-3 py-2 text-[13px] hover:bg-raised/60 ${benchmark.id === shown ? "bg-raised" : ""}`}>
                <Icon name={STATUS_ICONS[benchmark.status]} size={14} className={STATUS_COLORS[benchmark.status]} />
                <span className="min-w-0 flex-1 truncate">{benchmark.request.workload ? `${benchmark.request.workload.runtime} workload` : "suite"}</span>
                <span className="text-xs text-muted">
                  <RelativeTime at={benchmark.created_at} />
                </span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
