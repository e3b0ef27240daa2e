import { ApiError, request } from "./client";
import { readEvents, type ServerEvent } from "./sse";

/** Silence for longer than several heartbeats means that the connection is dead. */
const SILENCE_MS = 45_000;
const HIDDEN_MS = 15_000;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

export type Connection = "connecting" | "live" | "reconnecting" | "asleep" | "over" | "failed";

export interface Following {
  path: string;
  /** The number after which the stream goes on, if it has one. */
  lastEventId?: () => string | null;
  /** Returns true when the stream has said all there is. Throwing `Gap` connects anew. */
  onEvents: (events: ServerEvent[]) => boolean;
  onState: (state: Connection, error: ApiError | null) => void;
}

/** Thrown by `onEvents` when an event is missing: the stream is then read again from where it was whole. */
export class Gap extends Error {}

/**
 * Follows a stream until it is over or the returned function is called, across cuts and restarts of the server.
 *
 * Browsers keep few connections to one server, over all tabs, so a page that nobody looks at gives its stream back.
 */
export function follow(following: Following): () => void {
  const ending = new AbortController();
  void followUntil(following, ending.signal);
  return () => ending.abort();
}

async function followUntil(following: Following, ending: AbortSignal): Promise<void> {
  let waitMs = FIRST_WAIT_MS;
  following.onState("connecting", null);
  while (!ending.aborted) {
    if (document.hidden) {
      following.onState("asleep", null);
      await untilVisible(ending);
      continue;
    }
    try {
      const over = await readOnce(following, ending, () => (waitMs = FIRST_WAIT_MS));
      if (over) return;
      if (!ending.aborted) following.onState("reconnecting", null);
    } catch (error) {
      if (ending.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        following.onState("failed", error);
        return;
      }
      following.onState("reconnecting", error instanceof ApiError ? error : null);
    }
    await sleep(waitMs, ending);
    waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
  }
}

async function readOnce(following: Following, ending: AbortSignal, onConnected: () => void): Promise<boolean> {
  const cut = new AbortController();
  const cutNow = () => cut.abort();
  ending.addEventListener("abort", cutNow);
  let hidden: ReturnType<typeof setTimeout> | undefined;
  const onVisibility = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(cutNow, HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", onVisibility);
  let silence = setTimeout(cutNow, SILENCE_MS);
  try {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    const last = following.lastEventId?.() ?? null;
    if (last !== null) headers["Last-Event-ID"] = last;
    const answer = await request(following.path, { headers, signal: cut.signal });
    if (!answer.body) return false;
    onConnected();
    following.onState("live", null);
    const noticing = answer.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          clearTimeout(silence);
          silence = setTimeout(cutNow, SILENCE_MS);
          controller.enqueue(chunk);
        },
      }),
      { signal: cut.signal },
    );
    for await (const events of readEvents(noticing)) {
      if (following.onEvents(events)) {
        following.onState("over", null);
        return true;
      }
    }
    return false;
  } catch (error) {
    if (error instanceof Gap || (cut.signal.aborted && !ending.aborted)) return false;
    throw error;
  } finally {
    clearTimeout(silence);
    clearTimeout(hidden);
    document.removeEventListener("visibilitychange", onVisibility);
    ending.removeEventListener("abort", cutNow);
    cut.abort();
  }
}

function sleep(ms: number, ending: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ending.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function untilVisible(ending: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !ending.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    ending.addEventListener("abort", look, { once: true });
  });
}
