import { Component, useEffect, useRef, type ReactNode } from "react";

import { useLive } from "@/api/live";

import { Button, Empty } from "./ui";

/** How browsers say that a part of the dashboard did not arrive. */
const NOT_LOADED = /dynamically imported module|preload CSS|module script failed/i;

/** Keeps a page that fails from taking the whole dashboard with it. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    if (NOT_LOADED.test(error.message)) return <NotLoaded />;
    return (
      <Empty page title="This page cannot be shown" testId="page-error">
        <p className="mb-3 font-mono text-xs break-words">{error.message}</p>
        <Button onClick={() => window.location.reload()}>Load it again</Button>
      </Empty>
    );
  }
}

/** A page that did not arrive, until the server is there again. */
function NotLoaded() {
  const { connection } = useLive();
  const away = useRef(false);
  useEffect(() => {
    if (connection === "reconnecting") away.current = true;
    else if (connection === "live" && away.current) window.location.reload();
  }, [connection]);
  return (
    <Empty page title="This page did not arrive" testId="page-error">
      <p className="mb-3">It is loaded as soon as the server answers again. If it does answer, it was updated: load it anew.</p>
      <Button onClick={() => window.location.reload()}>Load it again</Button>
    </Empty>
  );
}
