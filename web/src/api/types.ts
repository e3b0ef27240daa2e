import type { Exact } from "@/lib/exact";

import type { components } from "./schema.gen";

type Schemas = components["schemas"];

export type Workload = Schemas["Workload"];
export type WorkloadSummary = Schemas["WorkloadSummary"];
export type WorkloadPage = Schemas["WorkloadPage"];

type EachSpec = Schemas["WorkloadSpec"];
type KeyOf<U> = U extends unknown ? keyof U : never;
type ValueOf<U, K extends PropertyKey> = U extends unknown ? (K extends keyof U ? U[K] : never) : never;
type Members = Omit<{ [K in KeyOf<EachSpec>]?: Exclude<ValueOf<EachSpec, K>, null> }, "runtime" | "resources" | "input">;
/** A request for a run, in any of its forms. */
export type WorkloadSpec = Members & { runtime: Runtime; resources?: Partial<Schemas["Resources"]>; input?: unknown };
export type BackendView = Schemas["BackendView"];
export type HostCheck = Schemas["HostCheck"];
export type NodeView = Schemas["NodeView"];
export type PoolView = Schemas["PoolView"];
export type Stats = Schemas["Stats"];
export type SeriesPoint = Schemas["SeriesPoint"];
export type Latency = Schemas["Latency"];
export type Routing = Schemas["Routing"];
export type Changed = Schemas["Changed"];
export type Load = Schemas["Load"];
export type LogLine = Schemas["LogLine"];
export type Done = Schemas["Done"];
export type Problem = Schemas["Problem"];
export type Status = Schemas["Status"];
export type Isolation = Schemas["Isolation"];
export type IsolationChoice = Schemas["IsolationChoice"];
export type Runtime = Schemas["Runtime"];
export type StartKind = Schemas["StartKind"];
export type Reason = Schemas["Reason"];
export type Resources = Schemas["Resources"];

/** JSON of any shape, as programs take and return it. */
export type Json = null | boolean | number | string | Exact | readonly Json[] | { readonly [name: string]: Json };

export const STATUSES: readonly Status[] = ["pending", "running", "completed", "failed", "killed"];
export const ISOLATIONS: readonly Isolation[] = ["isolate", "gvisor", "microvm"];
export const RUNTIMES: readonly Runtime[] = ["python", "node", "go", "bash", "wasm", "oci"];
export const STARTS: readonly StartKind[] = ["warm", "restored", "cold"];

export function isOver(status: Status): boolean {
  return status === "completed" || status === "failed" || status === "killed";
}

export type Benchmark = Schemas["Benchmark"];
export type BenchmarkHead = Schemas["BenchmarkHead"];
export type BenchmarkPage = Schemas["BenchmarkPage"];
export type BenchmarkResult = Schemas["BenchmarkResult"];
export type BenchmarkProgress = Schemas["BenchmarkProgress"];
export type BenchmarkDone = Schemas["BenchmarkDone"];
export type Measure = Schemas["Measure"];
export type Subject = Schemas["Subject"];
export type Unit = Schemas["Unit"];
export type Spread = Schemas["Spread"];

export type ImageList = Schemas["ImageList"];
export type ImageView = Schemas["ImageView"];
export type BuildableImage = Schemas["BuildableImage"];
export type ImageJob = Schemas["ImageJob"];
