import type { WorkloadSpec } from "@/api/types";

import { Exact, toJson } from "./exact";
import { DEFAULT_FILE } from "./spec";

/** What the files of a draft are called when they are downloaded. */
export const DOWNLOAD = "project.tar.gz";

/** For a POSIX shell: quoted if anything in it means something there. */
export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The request for curl. `archive` names the file that holds what does not fit into JSON.
 *
 * A key is left to the environment, where the command and the Python client look for it by themselves.
 */
export function asCurl(spec: WorkloadSpec, server: string, archive: string | null, withKey = false): string {
  const body = toJson(spec, archive ? 0 : 2);
  const key = withKey ? ' -H "Authorization: Bearer $CAISSON_API_KEY"' : "";
  if (archive) {
    return [
      `curl ${server}/v1/workloads${key} \\`,
      // Not -F, which would end the text at a semicolon.
      `  --form-string ${shellQuote(`spec=${body}`)} \\`,
      `  -F archive=@${shellQuote(archive)}`,
    ].join("\n");
  }
  return `curl ${server}/v1/workloads${key} --json ${shellQuote(body)}`;
}

/** The same for the command, which takes several files as they are downloaded. */
export function asCommand(spec: WorkloadSpec, server: string, archive: string | null): string {
  const words = [spec.stdin ? `printf %s ${shellQuote(spec.stdin)} | caisson run --stdin` : "caisson run"];
  if (spec.image) words.push(`--image ${shellQuote(spec.image)}`);
  else if (archive || spec.files) words.push(shellQuote(archive ?? DOWNLOAD));
  else words.push(shellQuote(spec.entrypoint ?? DEFAULT_FILE[spec.runtime]));
  if (archive || spec.files || spec.image) words.push(`--runtime ${spec.runtime}`);
  if (spec.entrypoint && (archive || spec.files)) words.push(`--entrypoint ${shellQuote(spec.entrypoint)}`);
  if (spec.isolation && spec.isolation !== "auto") words.push(`--isolation ${spec.isolation}`);
  const input = (spec as { input?: unknown }).input;
  if (input !== undefined) words.push(`--input ${shellQuote(toJson(input))}`);
  for (const [name, value] of Object.entries(spec.env ?? {})) words.push(`--env ${shellQuote(`${name}=${value}`)}`);
  for (const [name, value] of Object.entries(spec.labels ?? {})) words.push(`--label ${shellQuote(`${name}=${value}`)}`);
  const { timeout_s, mem_mb, cpus, disk_mb } = spec.resources ?? {};
  if (timeout_s !== undefined) words.push(`--timeout ${timeout_s}s`);
  if (mem_mb !== undefined) words.push(`--mem ${mem_mb}m`);
  if (cpus !== undefined) words.push(`--cpus ${cpus}`);
  if (disk_mb !== undefined) words.push(`--disk ${disk_mb}m`);
  if (typeof spec.network === "string" && spec.network !== "none") words.push(`--network ${spec.network}`);
  else if (typeof spec.network === "object") for (const to of spec.network.allow) words.push(`--network ${shellQuote(to)}`);
  if (server !== "http://127.0.0.1:8080") words.push(`--api ${server}`);
  // Behind an image's name stands its command, behind a program's its arguments.
  if (spec.image) for (const arg of spec.args ?? []) words.push(shellQuote(`--arg=${arg}`));
  const rest = (spec.image ? spec.command : spec.args) ?? [];
  if (rest.length > 0) words.push(`-- ${rest.map(shellQuote).join(" ")}`);
  return words.join(" \\\n  ");
}

/** The same for the Python client. */
export function asPython(spec: WorkloadSpec, server: string, archive: string | null): string {
  const members = Object.entries(spec as unknown as Record<string, unknown>).map(
    ([name, value]) => `        ${name}=${asPythonValue(value, 8)},`,
  );
  if (archive) members.push(`        archive=Path(${JSON.stringify(archive)}),`);
  return [
    ...(archive ? ["from pathlib import Path", ""] : []),
    "from caisson import Client",
    "",
    `with Client(${JSON.stringify(server)}) as caisson:`,
    "    done = caisson.run(",
    ...members,
    "    )",
    "    print(done.status, done.output)",
  ].join("\n");
}

export function asPythonValue(value: unknown, indent: number): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return pythonString(value);
  if (value instanceof Exact) return value.text;
  if (typeof value !== "object") return String(value);
  const inner = " ".repeat(indent + 4);
  const close = `\n${" ".repeat(indent)}`;
  if (Array.isArray(value)) {
    return value.length === 0 ? "[]" : `[${value.map((item) => asPythonValue(item, indent)).join(", ")}]`;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return "{}";
  const items = entries.map(([name, item]) => `${inner}${pythonString(name)}: ${asPythonValue(item, indent + 4)},`);
  return `{\n${items.join("\n")}${close}}`;
}

function pythonString(text: string): string {
  // JSON's escapes are Python's as well, but for lone surrogates, which no source may hold either way.
  const quoted = JSON.stringify(text);
  const asItIs = text.includes("\n") && !/"""|"$|\\|\r/.test(text);
  return asItIs ? `"""\\\n${text}"""` : quoted;
}
