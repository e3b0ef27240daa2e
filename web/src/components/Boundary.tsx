import { Component, type ReactNode } from "react";

import { Button, Empty } from "./ui";

/** Keeps a page that fails from taking the whole dashboard with it. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (!this.state.error) return this.props.children;
    return (
      <Empty page title="This page cannot be shown" testId="page-error">
        <p className="mb-3 font-mono text-xs break-words">{this.state.error.message}</p>
        <Button onClick={() => window.location.reload()}>Load it again</Button>
      </Empty>
    );
  }
}
