import { useState } from "react";

import type { WorkloadSpec } from "@/api/types";
import { apiKey } from "@/api/client";
import { asCommand, asCurl, asPython, DOWNLOAD } from "@/lib/snippets";

import { CopyButton } from "./CopyButton";
import { Tabs } from "./ui";

type Form = "curl" | "command" | "python";
const MAKERS = { curl: asCurl, command: asCommand, python: asPython };

/** The same request for a terminal or a program, to copy. */
export function Snippets({ spec, archive }: { spec: WorkloadSpec; archive: boolean }) {
  const [form, setForm] = useState<Form>("curl");
  const text = MAKERS[form](spec, window.location.origin, archive ? DOWNLOAD : null, apiKey() !== null);
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
      {form === "command" && spec.resources?.max_output_bytes !== undefined ? <p className="mt-1 text-xs text-faint">The command has no option for the largest output: the usual limit holds.</p> : null}
      {apiKey() !== null ? <p className="mt-1 text-xs text-faint">It takes the API key from CAISSON_API_KEY.</p> : null}
    </div>
  );
}
