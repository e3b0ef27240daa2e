import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent, type ReactNode } from "react";

import { ApiError, apiKey, getJson, setApiKey } from "@/api/client";
import { GATE } from "@/api/queries";
import type { Stats } from "@/api/types";

import { Button } from "./ui";

/** Shows the dashboard, or asks for an API key where the server wants one and there is none that it takes. */
export function KeyGate({ children }: { children: ReactNode }) {
  const { error } = useQuery({ queryKey: GATE, queryFn: ({ signal }) => getJson<Stats>("/v1/stats", signal) });
  if (error instanceof ApiError && error.status === 401) return <AskForKey refused={apiKey() !== null} />;
  return children;
}

function AskForKey({ refused }: { refused: boolean }) {
  const client = useQueryClient();
  const [key, setKey] = useState("");
  const [remember, setRemember] = useState(false);
  const enter = (event: FormEvent) => {
    event.preventDefault();
    client.clear();
    setApiKey(key.trim(), remember);
  };
  return (
    <main className="mx-auto flex min-h-dvh max-w-sm flex-col justify-center p-4">
      <form onSubmit={enter} className="card p-5" data-testid="key-form">
        <img src="/favicon.svg" alt="" width="28" height="28" className="mb-3" />
        <h1 className="text-lg font-semibold">Caisson needs an API key</h1>
        <p className="mt-1 mb-4 text-[13px] text-muted">
          This server can be reached from other machines. <code className="font-mono text-xs">caisson keys create</code> makes a key.
        </p>
        <label htmlFor="key" className="mb-1 block text-xs font-medium text-muted">
          API key
        </label>
        <input id="key" type="password" autoFocus autoComplete="current-password" data-testid="key" value={key} onChange={(event) => setKey(event.target.value)} className="field font-mono" aria-describedby="key-note" />
        <p id="key-note" role="status" className="mt-1 min-h-4 text-xs text-bad">
          {refused ? "The server did not take this key." : ""}
        </p>
        <label className="mt-2 mb-4 flex items-center gap-2 text-[13px]">
          <input type="checkbox" data-testid="key-remember" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
          Keep it on this machine, not only in this tab
        </label>
        <Button type="submit" look="primary" testId="key-enter" disabled={key.trim() === ""}>
          Enter
        </Button>
      </form>
    </main>
  );
}
