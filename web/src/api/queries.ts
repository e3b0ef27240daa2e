import { keepPreviousData, MutationCache, QueryCache, QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { parseExact } from "@/lib/exact";
import { packTar, gzip, type Files } from "@/lib/tar";

import { ApiError, getJson, request, sendJson, withQuery } from "./client";
import { isOver, type BackendView, type HostCheck, type IsolationChoice, type NodeView, type Routing, type Runtime, type Stats, type Workload, type WorkloadPage, type WorkloadSpec } from "./types";

/** What the gate before all pages asks: with a key that is no longer taken, it asks for another. */
export const GATE = ["stats"] as const;

function onRefusal(error: Error): void {
  if (error instanceof ApiError && error.status === 401) void queryClient.invalidateQueries({ queryKey: GATE });
}

export const queryClient: QueryClient = new QueryClient({
  mutationCache: new MutationCache({ onError: onRefusal }),
  queryCache: new QueryCache({ onError: (error, query) => (query.queryKey[0] === GATE[0] ? undefined : onRefusal(error)) }),
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      retry: (count, error) => !(error instanceof ApiError && error.status >= 400 && error.status < 500) && count < 2,
      retryDelay: (count) => Math.min(3_000, 300 * 2 ** count),
    },
  },
});

export interface WorkloadFilters {
  status?: string | null;
  isolation?: string | null;
  runtime?: string | null;
  label?: string | null;
  cursor?: string | null;
  limit?: number;
}

export function useWorkloads(filters: WorkloadFilters) {
  return useQuery({
    queryKey: ["workloads", filters],
    queryFn: ({ signal }) => getJson<WorkloadPage>(withQuery("/v1/workloads", { ...filters }), signal),
    placeholderData: keepPreviousData,
  });
}

/** A workload whose output keeps every digit. */
export async function getWorkload(path: string, signal: AbortSignal): Promise<Workload> {
  const text = await (await request(path, { signal })).text();
  return { ...(JSON.parse(text) as Workload), output: (parseExact(text) as Workload).output };
}

export function useWorkload(id: string | null) {
  return useQuery({
    queryKey: ["workload", id],
    queryFn: ({ signal }) => getWorkload(`/v1/workloads/${id}`, signal),
    enabled: id !== null,
    // Streams tell of changes; this is for when they do not get through.
    refetchInterval: (query) => (query.state.data && isOver(query.state.data.status) ? false : 5_000),
  });
}

export function useBackends() {
  return useQuery({
    queryKey: ["backends"],
    queryFn: ({ signal }) => getJson<BackendView[]>("/v1/backends", signal),
    refetchInterval: 15_000,
  });
}

export function useDoctor() {
  return useQuery({ queryKey: ["doctor"], queryFn: ({ signal }) => getJson<HostCheck[]>("/v1/doctor", signal), staleTime: 15_000 });
}

export function useNodes() {
  return useQuery({
    queryKey: ["nodes"],
    queryFn: ({ signal }) => getJson<NodeView[]>("/v1/nodes", signal),
    refetchInterval: 5_000,
  });
}

export function useStats() {
  return useQuery({
    queryKey: GATE,
    queryFn: ({ signal }) => getJson<Stats>("/v1/stats", signal),
    refetchInterval: 10_000,
  });
}

export function useRouting(runtime: Runtime, isolation: IsolationChoice, network: string) {
  return useQuery({
    queryKey: ["routing", runtime, isolation, network],
    queryFn: ({ signal }) => getJson<Routing>(withQuery("/v1/routing", { runtime, isolation, network }), signal),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });
}

export interface Submission {
  spec: WorkloadSpec;
  /** JSON text that stands in the request as it was written. */
  input: string | null;
  archive: Files | null;
}

/** The body of a request: `input` goes in as it was written, so that no large number loses a digit. */
export function requestBody(spec: WorkloadSpec, input: string | null): string {
  const text = JSON.stringify({ ...spec, input: undefined });
  return input === null ? text : `${text.slice(0, -1)},"input":${input}}`;
}

export async function submit({ spec, input, archive }: Submission): Promise<Workload> {
  const body = requestBody(spec, input);
  const init: RequestInit = { method: "POST" };
  if (archive) {
    const form = new FormData();
    form.append("spec", new Blob([body], { type: "application/json" }));
    form.append("archive", new Blob([await gzip(packTar(archive))], { type: "application/gzip" }), "project.tar.gz");
    init.body = form;
  } else {
    init.body = body;
    init.headers = { "Content-Type": "application/json" };
  }
  return (await (await request("/v1/workloads/async", init)).json()) as Workload;
}

/** The request of an earlier workload, with its input as it was written. */
export async function specOf(id: string): Promise<WorkloadSpec> {
  const text = await (await request(`/v1/workloads/${id}/spec`)).text();
  return { ...(JSON.parse(text) as WorkloadSpec), input: (parseExact(text) as WorkloadSpec).input };
}

export function useKill() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => sendJson<Workload>("DELETE", `/v1/workloads/${id}`),
    onSuccess: (workload) => client.setQueryData(["workload", workload.id], workload),
    onSettled: () => client.invalidateQueries({ queryKey: ["workloads"] }),
  });
}
