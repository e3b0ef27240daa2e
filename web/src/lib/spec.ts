import type { Runtime, WorkloadSpec } from "@/api/types";

import { toBase64 } from "./base64";
import type { Draft } from "./draft";
import { parseExact } from "./exact";
import { jsonMistake } from "./jsonMistake";
import { toBytes, type Files } from "./tar";

/** Larger sources travel as an archive, which the server writes to disk instead of holding it. */
const INLINE_BYTES = 4 << 20;

export const DEFAULT_FILE: Record<Runtime, string> = {
  python: "main.py",
  node: "main.ts",
  go: "main.go",
  bash: "main.sh",
  wasm: "main.wasm",
  oci: "",
};

const RUNTIME_OF: Record<string, Runtime> = {
  py: "python",
  js: "node",
  mjs: "node",
  cjs: "node",
  jsx: "node",
  ts: "node",
  mts: "node",
  cts: "node",
  tsx: "node",
  go: "go",
  sh: "bash",
  bash: "bash",
  wasm: "wasm",
};

export function runtimeOf(path: string): Runtime | null {
  return RUNTIME_OF[path.split(".").pop() ?? ""] ?? null;
}

/** What is wrong with a draft, by the name of the field. */
export type Mistakes = Partial<Record<keyof Draft, string>>;

export interface Built {
  spec: WorkloadSpec;
  /** The files, where they are too many or no text and must go as an archive. */
  archive: Files | null;
  mistakes: Mistakes;
}

/** The request that a draft stands for. With mistakes it is what is left without the fields at fault. */
export function buildSpec(draft: Draft): Built {
  const mistakes: Mistakes = {};
  const spec: Record<string, unknown> = { runtime: draft.runtime };
  if (draft.isolation !== "auto") spec["isolation"] = draft.isolation;
  const archive = draft.runtime === "oci" ? putImage(draft, spec, mistakes) : putCode(draft, spec, mistakes);
  if (draft.input.trim() !== "") {
    try {
      spec["input"] = parseExact(draft.input);
    } catch (error) {
      mistakes.input = jsonMistake(draft.input, error);
    }
  }
  if (draft.stdin !== "") spec["stdin"] = draft.stdin;
  put(spec, "env", pairs(draft.env, /^[A-Za-z_][A-Za-z0-9_]*$/, (message) => (mistakes.env = message)));
  put(spec, "labels", pairs(draft.labels, /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, (message) => (mistakes.labels = message)));
  const args = draft.args.split("\n").filter((line) => line !== "");
  if (args.length > 0) spec["args"] = args;
  putNetwork(draft, spec, mistakes);
  putResources(draft, spec, mistakes);
  return { spec: spec as unknown as WorkloadSpec, archive, mistakes };
}

function putCode(draft: Draft, spec: Record<string, unknown>, mistakes: Mistakes): Files | null {
  const names = Object.keys(draft.files);
  if (names.length === 0) {
    mistakes.files = "There is no file to run.";
    return null;
  }
  if (!(draft.entrypoint in draft.files)) mistakes.entrypoint = "Mark the file to run.";
  const content = draft.files[draft.entrypoint];
  if (draft.runtime === "wasm" && names.length === 1 && content !== undefined) {
    spec["code"] = toBase64(toBytes(content));
    return null;
  }
  const isText = Object.values(draft.files).every((file) => typeof file === "string");
  const size = Object.values(draft.files).reduce((total, file) => total + file.length, 0);
  if (!isText || size > INLINE_BYTES || draft.runtime === "wasm") {
    spec["entrypoint"] = draft.entrypoint;
    return draft.files;
  }
  if (names.length === 1 && names[0] === DEFAULT_FILE[draft.runtime]) {
    spec["code"] = content;
    return null;
  }
  spec["files"] = draft.files;
  spec["entrypoint"] = draft.entrypoint;
  return null;
}

function putImage(draft: Draft, spec: Record<string, unknown>, mistakes: Mistakes): null {
  if (draft.image.trim() === "") mistakes.image = "Name an image, such as `registry/name:tag`.";
  spec["image"] = draft.image.trim();
  const command = draft.command.split("\n").filter((line) => line !== "");
  if (command.length > 0) spec["command"] = command;
  return null;
}

function putNetwork(draft: Draft, spec: Record<string, unknown>, mistakes: Mistakes): void {
  if (draft.network === "egress") spec["network"] = "egress";
  if (draft.network !== "allow") return;
  const allow = draft.allow.split(/[\n,]/).map((line) => line.trim()).filter((line) => line !== "");
  if (allow.length === 0) mistakes.allow = "Name at least one destination.";
  else spec["network"] = { allow };
}

const LIMITS = [
  ["cpus", "cpus", 0.05, 64, "1"],
  ["memMb", "mem_mb", 16, 262_144, "256"],
  ["diskMb", "disk_mb", 1, 262_144, "512"],
  ["timeoutS", "timeout_s", 0.001, 86_400, "30"],
  ["maxOutputMb", "max_output_bytes", 0, 64, "10"],
] as const;

function putResources(draft: Draft, spec: Record<string, unknown>, mistakes: Mistakes): void {
  const resources: Record<string, number> = {};
  for (const [field, member, least, most, usual] of LIMITS) {
    const text = draft[field].trim();
    if (text === usual || text === "") continue;
    const value = Number(text);
    const whole = field === "memMb" || field === "diskMb";
    if (!Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value))) {
      mistakes[field] = `${whole ? "A whole number" : "A number"} from ${least} to ${most.toLocaleString("en-US")}.`;
    } else {
      resources[member] = field === "maxOutputMb" ? Math.round(value * 1_048_576) : value;
    }
  }
  put(spec, "resources", resources);
}

function put(spec: Record<string, unknown>, name: string, value: Record<string, unknown>): void {
  if (Object.keys(value).length > 0) spec[name] = value;
}

/** Lines of `NAME=value`. */
function pairs(text: string, form: RegExp, complain: (message: string) => void): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [number, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const [name = "", ...rest] = line.split("=");
    if (rest.length === 0 || !form.test(name.trim())) complain(`Line ${number + 1} is not NAME=value.`);
    else found[name.trim()] = rest.join("=");
  }
  return found;
}
