import { useMutation, useQuery, useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { getJson, sendJson } from "./client";
import { follow, type Connection } from "./following";
import type { Benchmark, BenchmarkDone, BenchmarkPage, BenchmarkProgress, BenchmarkResult, Isolation, Runtime, WorkloadSpec } from "./types";

export interface BenchmarkWish {
  workload?: WorkloadSpec;
  isolations?: Isolation[];
  runtimes?: Runtime[];
  runs: number;
  clients: number;
}

export function useBenchmarks() {
  return useQuery({ queryKey: ["benchmarks"], queryFn: ({ signal }) => getJson<BenchmarkPage>("/v1/benchmarks?limit=30", signal) });
}

/** A benchmark with its results as they come. */
export function useBenchmark(id: string | null) {
  const client = useQueryClient();
  const query = useQuery({
    queryKey: ["benchmark", id],
    queryFn: ({ signal }) => getJson<Benchmark>(`/v1/benchmarks/${id}`, signal),
    enabled: id !== null,
  });
  const [connection, setConnection] = useState<Connection>("connecting");
  const running = query.data?.status === "running";
  useEffect(() => {
    if (id === null || !running) return undefined;
    let last: string | null = null;
    return follow({
      path: `/v1/benchmarks/${id}/events`,
      lastEventId: () => last,
      onState: setConnection,
      onEvents: (events) => {
        let over = false;
        for (const event of events) {
          if (event.id !== null) last = event.id;
          over = apply(client, id, event.name, event.data) || over;
        }
        return over;
      },
    });
  }, [client, id, running]);
  return { ...query, connection };
}

function apply(client: QueryClient, id: string, name: string, data: string): boolean {
  const change = (to: (known: Benchmark) => Benchmark) => client.setQueryData<Benchmark>(["benchmark", id], (known) => known && to(known));
  if (name === "progress") {
    const progress = JSON.parse(data) as BenchmarkProgress;
    change((known) => ({ ...known, progress }));
  } else if (name === "result") {
    const result = JSON.parse(data) as BenchmarkResult;
    change((known) => (known.results.some((one) => one.seq === result.seq) ? known : { ...known, results: [...known.results, result] }));
  } else if (name === "done") {
    const { status, error } = JSON.parse(data) as BenchmarkDone;
    change((known) => ({ ...known, status, error }));
    void client.invalidateQueries({ queryKey: ["benchmark", id] });
    void client.invalidateQueries({ queryKey: ["benchmarks"] });
    return true;
  }
  return false;
}

export function useStartBenchmark() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (wish: BenchmarkWish) => sendJson<Benchmark>("POST", "/v1/benchmarks", wish),
    onSuccess: (benchmark) => {
      client.setQueryData(["benchmark", benchmark.id], benchmark);
      void client.invalidateQueries({ queryKey: ["benchmarks"] });
    },
  });
}

export function useCancelBenchmark() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => sendJson<Benchmark>("DELETE", `/v1/benchmarks/${id}`),
    onSuccess: (benchmark) => client.setQueryData(["benchmark", benchmark.id], benchmark),
    onSettled: () => client.invalidateQueries({ queryKey: ["benchmarks"] }),
  });
}
