import { toJson } from "@/lib/exact";

import type { Problem } from "./types";

/** A request that the server refused, or that never reached it (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly member: string | undefined;

  constructor(status: number, reason: string, message: string, member?: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.reason = reason;
    this.member = member;
  }

  get offline(): boolean {
    return this.status === 0;
  }
}

const KEY = "caisson.key";
const keyListeners = new Set<() => void>();

/** The API key of this browser tab, needed only where the server can be reached from other machines. */
export function apiKey(): string | null {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function setApiKey(key: string | null, remember: boolean): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (key) (remember ? localStorage : sessionStorage).setItem(KEY, key);
  for (const listener of keyListeners) listener();
}

export function onApiKey(listener: () => void): () => void {
  keyListeners.add(listener);
  return () => keyListeners.delete(listener);
}

/** `fetch` with the key, where there is one. Raises ApiError for every answer that is not a success. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = apiKey();
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "offline", "The server does not answer.");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer: Response): Promise<ApiError> {
  const text = await answer.text().catch(() => "");
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (problem.reason && problem.detail) return new ApiError(answer.status, problem.reason, problem.detail, problem.member ?? undefined);
  } catch {
    // Whatever stands between us and the server answers as it likes.
  }
  return new ApiError(answer.status, "unknown", text.slice(0, 300) || `The server answered with ${answer.status}.`);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { signal })).json()) as T;
}

export async function sendJson<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = toJson(body);
    init.headers = { "Content-Type": "application/json" };
  }
  return (await (await request(path, init)).json()) as T;
}

/** A path with a query; members that are undefined, null or empty are left out. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}
