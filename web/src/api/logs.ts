import { useEffect, useMemo, useState } from "react";

import { LogStore } from "@/lib/logstore";

import type { ApiError } from "./client";
import { follow, Gap, type Connection } from "./following";
import type { Done, LogLine } from "./types";

export interface LogStream {
  store: LogStore;
  connection: Connection;
  error: ApiError | null;
  done: Done | null;
}

type Progress = Omit<LogStream, "store">;
const BEGIN: Progress = { connection: "connecting", error: null, done: null };

/** A workload's log, live or stored, from its first line. The stream is closed when nobody shows it any more. */
export function useLogStream(id: string, onDone?: () => void): LogStream {
  const store = useMemo(() => new LogStore(id), [id]);
  const [progress, setProgress] = useState<Progress>(BEGIN);
  useEffect(() => {
    setProgress(BEGIN);
    return follow({
      path: `/v1/workloads/${id}/logs`,
      lastEventId: () => (store.length > 0 ? String(store.length - 1) : null),
      onEvents: (events) => {
        for (const event of events) {
          if (event.name === "done") {
            store.tellNow();
            setProgress((before) => ({ ...before, done: JSON.parse(event.data) as Done }));
            onDone?.();
            return true;
          }
          if (!store.add(JSON.parse(event.data) as LogLine)) throw new Gap();
        }
        store.tell();
        return false;
      },
      onState: (connection, error) => setProgress((before) => ({ ...before, connection, error })),
    });
    // eslint-disable-next-line react-hooks/exhaustive-deps -- a new callback is no reason for a new stream
  }, [id, store]);
  return { store, ...progress };
}
