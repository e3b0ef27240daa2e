import { useSyncExternalStore } from "react";

import { ago, exactTime } from "@/lib/format";

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let now = Date.now();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time, to the second, for everything that counts along. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** How long ago something was; the exact time for whoever hovers. */
export function RelativeTime({ at }: { at: string | null | undefined }) {
  const current = useNow();
  if (!at) return <span className="text-faint">–</span>;
  const instant = Date.parse(at);
  return (
    <time dateTime={at} title={exactTime(instant)} className="tabular whitespace-nowrap">
      {ago(instant, Math.max(current, Date.now()))}
    </time>
  );
}
