import { useState } from "react";

import type { WorkloadSpec } from "@/api/types";
import { asCommand, asCurl, asPython, DOWNLOAD } from "@/lib/snippets";

import { CopyButton } from "./CopyButton";
import { Tabs } from "./ui";

type Form = "curl" | "command" | "python";
const MAKERS = { curl: asCurl, command: asCommand, python: asPython };

/** The same request for a terminal or a program, to copy. */
export function Snippets({ spec, archive }: { spec: WorkloadSpec; archive: boolean }) {
  const [form, setForm] = useState<Form>("curl");
  const text = MAKERS[form](spec, window.location.origin, archive ? DOWNLOAD : null);
  return (
    <div>
      <div className="-mt-2 flex items-center">
        <Tabs<Form>
          label="Form of the request"
          testId="snippet"
          active={form}
          onChange={setForm}
          tabs={[
            { id: "curl", title: "curl" },
            { id: "command", title: "Command" },
            { id: "python", title: "Python" },
          ]}
        />
        <span className="ml-auto">
          <CopyButton label="Copy" testId="snippet-copy" text={() => text} />
        </span>
      </div>
      <pre data-testid="snippet-text" tabIndex={0} className="max-h-72 overflow-auto rounded-md border border-line bg-ground p-2 font-mono text-xs leading-5">
        {text}
      </pre>
      {form === "command" && (archive || spec.files) ? <p className="mt-1 text-xs text-faint">Download the files first: the button above them makes {DOWNLOAD}.</p> : null}
    </div>
  );
}
