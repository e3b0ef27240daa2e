import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";

import { follow, type Connection } from "./following";
import { isOver, type BackendView, type Changed, type Load, type Workload, type WorkloadPage, type WorkloadSummary } from "./types";

interface Live {
  connection: Connection;
  load: Load | null;
}

const AGAIN_MS = 1_000;
const listeners = new Set<() => void>();
let live: Live = { connection: "connecting", load: null };

function tell(next: Partial<Live>): void {
  live = { ...live, ...next };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether the stream of changes stands, and the last load it told of. */
export function useLive(): Live {
  return useSyncExternalStore(subscribe, () => live);
}

/** Keeps everything that is shown up to date from one stream, for as long as the dashboard is open. */
export function useLiveUpdates(): void {
  const client = useQueryClient();
  useEffect(() => {
    const refresh = refresher(client);
    let connected = false;
    const stop = follow({
      path: "/v1/events",
      onEvents: (events) => {
        for (const event of events) {
          if (event.name === "load") onLoad(client, JSON.parse(event.data) as Load);
          else if (event.name === "changed") onChanged(client, JSON.parse(event.data) as Changed, refresh);
        }
        return false;
      },
      onState: (connection) => {
        // What happened while there was no stream is not told again.
        if (connection === "live" && connected) void client.invalidateQueries();
        connected ||= connection === "live";
        tell({ connection });
      },
    });
    return () => {
      stop();
      refresh.cancel();
    };
  }, [client]);
}

function onLoad(client: QueryClient, load: Load): void {
  tell({ load });
  client.setQueryData<BackendView[]>(["backends"], (known) =>
    known?.map((backend) => ({ ...backend, pool: load.pools[backend.isolation] ?? [] })),
  );
}

function onChanged(client: QueryClient, changed: Changed, refresh: Refresher): void {
  const news = new Map(changed.workloads.map((workload) => [workload.id, workload]));
  let strange = changed.missed;
  const seen = new Set<string>();
  client.setQueriesData<WorkloadPage>({ queryKey: ["workloads"] }, (page) => {
    if (!page) return page;
    return {
      ...page,
      workloads: page.workloads.map((workload) => {
        const next = news.get(workload.id);
        if (!next) return workload;
        seen.add(workload.id);
        return { ...workload, ...next };
      }),
    };
  });
  for (const [id, summary] of news) {
    if (!seen.has(id)) strange = true;
    const known = client.getQueryData<Workload>(["workload", id]);
    if (known) refreshOne(client, known, summary);
  }
  if (strange || changed.workloads.some((workload) => isOver(workload.status))) refresh.soon();
}

function refreshOne(client: QueryClient, known: Workload, summary: WorkloadSummary): void {
  if (isOver(known.status)) return;
  // The summary has no output, so an end is read in full; until then its state is what counts.
  if (isOver(summary.status)) void client.invalidateQueries({ queryKey: ["workload", known.id] });
  else client.setQueryData(["workload", known.id], { ...known, ...summary });
}

interface Refresher {
  soon: () => void;
  cancel: () => void;
}

/** Reads lists and figures anew, however much changes at most once a second. */
function refresher(client: QueryClient): Refresher {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;
  return {
    soon: () => {
      if (timer !== undefined) return;
      const wait = Math.max(0, last + AGAIN_MS - Date.now());
      timer = setTimeout(() => {
        timer = undefined;
        last = Date.now();
        void client.invalidateQueries({ queryKey: ["workloads"] });
        void client.invalidateQueries({ queryKey: ["stats"] });
        void client.invalidateQueries({ queryKey: ["nodes"] });
      }, wait);
    },
    cancel: () => clearTimeout(timer),
  };
}
