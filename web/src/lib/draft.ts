import type { IsolationChoice, Runtime } from "@/api/types";

import { fromBase64, toBase64 } from "./base64";
import type { Files } from "./tar";

export type NetworkKind = "none" | "egress" | "allow";

/** All that the page for a new workload lets one change, as it stands in the fields. */
export interface Draft {
  runtime: Runtime;
  isolation: IsolationChoice;
  files: Files;
  entrypoint: string;
  open: string;
  input: string;
  stdin: string;
  env: string;
  args: string;
  labels: string;
  image: string;
  command: string;
  network: NetworkKind;
  allow: string;
  cpus: string;
  memMb: string;
  diskMb: string;
  timeoutS: string;
  maxOutputMb: string;
}

export const PLAIN: Omit<Draft, "runtime" | "files" | "entrypoint" | "open"> = {
  isolation: "auto",
  input: "",
  stdin: "",
  env: "",
  args: "",
  labels: "",
  image: "",
  command: "",
  network: "none",
  allow: "",
  cpus: "1",
  memMb: "256",
  diskMb: "512",
  timeoutS: "30",
  maxOutputMb: "10",
};

const KEY = "caisson.draft";
const MOST_CHARACTERS = 4_000_000;

/**
 * Keeps the draft for the next visit: for this tab, which may not lose it to another one, and for the next new tab.
 * False if it is too large for that.
 */
export function keepDraft(draft: Draft): boolean {
  const files = Object.fromEntries(
    Object.entries(draft.files).map(([name, content]) => [
      name,
      typeof content === "string" ? content : { base64: toBase64(content) },
    ]),
  );
  const text = JSON.stringify({ ...draft, files });
  try {
    if (text.length > MOST_CHARACTERS) return false;
    sessionStorage.setItem(KEY, text);
    localStorage.setItem(KEY, text);
    return true;
  } catch {
    return false;
  }
}

export function keptDraft(): Draft | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "null") as (Draft & { files: unknown }) | null;
    if (!kept || typeof kept.files !== "object" || kept.files === null) return null;
    const files: Files = {};
    for (const [name, content] of Object.entries(kept.files as Record<string, unknown>)) {
      if (typeof content === "string") files[name] = content;
      else files[name] = fromBase64((content as { base64: string }).base64);
    }
    return { ...PLAIN, ...kept, files };
  } catch {
    return null;
  }
}

export function forgetDraft(): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
}
