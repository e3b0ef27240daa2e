import { lazy, Suspense, useMemo } from "react";

import { useLive } from "@/api/live";
import { useStats, useWorkloads } from "@/api/queries";
import { isOver, type Isolation, type StartKind, type Stats } from "@/api/types";
import type { Line } from "@/components/Chart";
import { PoolTable } from "@/components/PoolTable";
import { IsolationTag } from "@/components/Status";
import { useNow } from "@/components/Time";
import { ButtonLink, Card, Empty, Figure, Notice, PageHead, Skeleton } from "@/components/ui";
import { WorkloadTable } from "@/components/WorkloadTable";
import { count, duration, mebibytes, percent, scaleDuration } from "@/lib/format";
import { Link } from "@/lib/router";
import { toSeries } from "@/lib/series";

const Chart = lazy(() => import("@/components/Chart"));

const DASHES: Record<StartKind, number[] | undefined> = { warm: undefined, restored: [6, 3], cold: [2, 3] };
const WIDTHS: Record<Isolation, number> = { isolate: 1.25, gvisor: 2.25, microvm: 3.5 };

/** What runs now, what ended last, and how it goes. */
export function HomePage() {
  const { data: stats, error } = useStats();
  const running = useWorkloads({ status: "running", limit: 8 });
  const recent = useWorkloads({ limit: 14 });
  const live = useLive();
  // A row changes before its list is read anew.
  const shown = (running.data?.workloads ?? []).filter((workload) => workload.status === "running");
  const ended = (recent.data?.workloads ?? []).filter((workload) => isOver(workload.status));
  const pools = live.load?.pools ?? stats?.pools;
  return (
    <div data-testid="home">
      <PageHead title="Home">
        <ButtonLink href="/new" look="primary" icon="plus" testId="new">
          New workload
        </ButtonLink>
      </PageHead>
      {error && !stats ? (
        <div className="mb-3">
          <Notice kind="bad" title="The figures cannot be read">
            {error.message}
          </Notice>
        </div>
      ) : null}
      <div className="mb-3 grid grid-cols-2 gap-3 lg:grid-cols-5">
        <Figures stats={stats} running={live.load?.running ?? stats?.running} queued={live.load?.queued ?? stats?.queued} />
      </div>
      <div className="mb-3 grid gap-3 xl:grid-cols-[minmax(0,1.6fr)_minmax(0,1fr)]">
        {stats ? (
          <Charts stats={stats} />
        ) : (
          <>
            <Card title="Latency">{error ? <Unknown /> : <Skeleton rows={6} />}</Card>
            <Card title="Ended">{error ? <Unknown /> : <Skeleton rows={6} />}</Card>
          </>
        )}
      </div>
      <div className="grid gap-3 xl:grid-cols-[minmax(0,1.6fr)_minmax(0,1fr)]">
        <div className="flex min-w-0 flex-col gap-3">
          {shown.length > 0 ? (
            <Card title="Running" note={count(Math.max(running.data?.total ?? 0, shown.length))} flush testId="running">
              <WorkloadTable workloads={shown} brief />
            </Card>
          ) : null}
          <Card
            title="Ended last"
            flush
            testId="recent"
            actions={
              <Link href="/workloads" className="text-[13px] text-info hover:underline">
                All
              </Link>
            }
          >
            {recent.isPending ? (
              <Skeleton rows={5} />
            ) : ended.length > 0 ? (
              <WorkloadTable workloads={ended} brief />
            ) : !recent.data ? (
              <Unknown />
            ) : (
              <Empty title="Nothing was run yet">
                <p className="mb-3">Write a few lines, run them in a sandbox, and watch.</p>
                <ButtonLink href="/new" look="primary" icon="play">
                  Run something
                </ButtonLink>
              </Empty>
            )}
          </Card>
        </div>
        <div className="flex min-w-0 flex-col gap-3">
          <LatencyTable stats={stats} />
          <Card title="Waiting sandboxes" flush testId="pools">
            {pools ? <PoolTable pools={pools} /> : error ? <Unknown /> : <Skeleton />}
          </Card>
        </div>
      </div>
    </div>
  );
}

/** Where the server has not said anything yet, nothing is claimed. */
function Unknown() {
  return <Empty title="Not known">The server did not say.</Empty>;
}

function Figures({ stats, running, queued }: { stats: Stats | undefined; running: number | undefined; queued: number | undefined }) {
  const sums = { completed: 0, failed: 0, killed: 0 };
  for (const point of stats?.series ?? []) {
    sums.completed += point.completed;
    sums.failed += point.failed;
    sums.killed += point.killed;
  }
  const ended = sums.completed + sums.failed + sums.killed;
  const fastest = [...(stats?.latency ?? [])].sort((a, b) => a.p50_ms - b.p50_ms)[0];
  const host = stats?.host;
  return (
    <>
      <Figure testId="figure-running" label="Running" value={running === undefined ? "–" : count(running)} note={queued === undefined ? null : queued > 0 ? `${count(queued)} in the queue` : "nobody waits"} />
      <Figure label="Ended in the last hour" value={stats ? count(ended) : "–"} note={stats ? `${count(sums.failed)} failed, ${count(sums.killed)} killed` : null} />
      <Figure label="Success" value={ended > 0 ? percent(sums.completed / ended) : "–"} note="of the last hour" />
      <Figure label="Fastest median" value={fastest ? duration(fastest.p50_ms) : "–"} note={fastest ? `${fastest.isolation}, ${fastest.start}` : stats ? "no figures yet" : null} />
      <Figure
        testId="figure-host"
        className="col-span-2 lg:col-span-1"
        label="Load of the host"
        value={host ? host.load_1m.toFixed(2) : "–"}
        note={host ? `${mebibytes(host.mem_available_mb)} of ${mebibytes(host.mem_total_mb)} free` : stats ? "needs the scope admin" : null}
      />
    </>
  );
}

function Charts({ stats }: { stats: Stats }) {
  const minute = Math.floor(useNow() / 10_000) * 10;
  const series = useMemo(() => toSeries(stats.series, stats.interval_s, stats.window_s, minute), [stats, minute]);
  const latency = useMemo<Line[]>(
    () => series.latency.map((kind) => ({ label: `${kind.isolation} ${kind.start}`, color: kind.isolation, dash: DASHES[kind.start], width: WIDTHS[kind.isolation], values: kind.values })),
    [series],
  );
  const ended = useMemo<Line[]>(
    () => [
      { label: "completed", color: "ok", fill: true, values: series.completed },
      { label: "failed or killed", color: "bad", dash: [4, 3], values: series.failed },
    ],
    [series],
  );
  return (
    <>
      <Card title="Latency" note="median of each minute, from acceptance to result" testId="latency">
        {latency.length === 0 ? (
          <Empty title="No figures yet">They come with the first workload that ends.</Empty>
        ) : (
          <Suspense fallback={<Skeleton />}>
            <Chart testId="chart-latency" times={series.times} lines={latency} format={scaleDuration} logarithmic label={`Median latency over the last hour of ${latency.map((line) => line.label).join(", ")}; figures in the table below`} />
          </Suspense>
        )}
      </Card>
      <Card title="Ended" note="in each minute">
        <Suspense fallback={<Skeleton />}>
          <Chart testId="chart-ended" times={series.times} lines={ended} format={wholeOnly} label="Workloads that ended in each minute of the last hour" />
        </Suspense>
      </Card>
    </>
  );
}

function wholeOnly(value: number): string {
  return Number.isInteger(value) ? count(value) : "";
}

function LatencyTable({ stats }: { stats: Stats | undefined }) {
  if (!stats || stats.latency.length === 0) return null;
  return (
    <Card title="Latency" note="of the last hour" flush testId="latency-table">
      <div className="overflow-x-auto" tabIndex={0} role="group" aria-label="Latency of the last hour">
        <table className="tabular w-full text-[13px] whitespace-nowrap">
          <thead>
            <tr className="border-b border-line text-xs text-muted [&>th]:px-2 [&>th:first-child]:pl-3 [&>th:last-child]:pr-3 [&>th]:py-1.5 [&>th]:text-right [&>th]:font-medium [&>th:first-child]:text-left">
              <th>Isolation, start</th>
              <th>count</th>
              <th>p50</th>
              <th>p90</th>
              <th>p99</th>
            </tr>
          </thead>
          <tbody>
            {stats.latency.map((row) => (
              <tr key={`${row.isolation} ${row.start}`} className="h-8 border-b border-line/70 last:border-0 [&>td]:px-2 [&>td:first-child]:pl-3 [&>td:last-child]:pr-3 [&>td]:text-right [&>td:first-child]:text-left">
                <td>
                  <IsolationTag isolation={row.isolation} /> <span className="text-muted">{row.start}</span>
                </td>
                <td>{count(row.count)}</td>
                <td>{duration(row.p50_ms)}</td>
                <td>{duration(row.p90_ms)}</td>
                <td>{duration(row.p99_ms)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
