import type { WorkloadSpec } from "@/api/types";

import { fromBase64 } from "./base64";
import { PLAIN, type Draft } from "./draft";
import { toJson } from "./exact";
import { DEFAULT_FILE } from "./spec";
import type { Files } from "./tar";

/** True where the code came as an archive, which the server does not keep. */
export function lacksCode(spec: WorkloadSpec): boolean {
  return spec.code === undefined && spec.files === undefined && spec.image === undefined;
}

/** A draft from the request of an earlier workload. */
export function draftOfSpec(spec: WorkloadSpec): Draft {
  const files = filesOf(spec);
  const entrypoint = spec.entrypoint ?? Object.keys(files)[0] ?? "";
  const { resources, network } = spec;
  const lines = (pairs: Readonly<Record<string, string>> | undefined) => Object.entries(pairs ?? {}).map(([name, value]) => `${name}=${value}`).join("\n");
  return {
    ...PLAIN,
    runtime: spec.runtime,
    isolation: spec.isolation ?? "auto",
    files,
    entrypoint,
    open: entrypoint,
    input: spec.input === undefined || spec.input === null ? "" : toJson(spec.input, 2),
    stdin: spec.stdin ?? "",
    env: lines(spec.env),
    labels: lines(spec.labels),
    args: (spec.args ?? []).join("\n"),
    image: spec.image ?? "",
    command: (spec.command ?? []).join("\n"),
    network: typeof network === "object" && network !== null ? "allow" : (network ?? "none"),
    allow: typeof network === "object" && network !== null ? network.allow.join("\n") : "",
    cpus: String(resources?.cpus ?? PLAIN.cpus),
    memMb: String(resources?.mem_mb ?? PLAIN.memMb),
    diskMb: String(resources?.disk_mb ?? PLAIN.diskMb),
    timeoutS: String(resources?.timeout_s ?? PLAIN.timeoutS),
    maxOutputMb: resources?.max_output_bytes === undefined ? PLAIN.maxOutputMb : String(resources.max_output_bytes / 1_048_576),
  };
}

function filesOf(spec: WorkloadSpec): Files {
  if (spec.files) return { ...spec.files };
  if (spec.code === undefined) return {};
  const name = spec.entrypoint ?? DEFAULT_FILE[spec.runtime];
  return { [name]: spec.runtime === "wasm" ? fromBase64(spec.code) : spec.code };
}
