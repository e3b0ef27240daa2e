import { useEffect, useRef, useState } from "react";

import type { Draft } from "@/lib/draft";
import { PLAIN } from "@/lib/draft";
import type { Mistakes } from "@/lib/spec";

import { Labelled, Select, Tabs } from "./ui";

type Part = "input" | "environment" | "limits" | "network" | "labels" | "code";

const PARTS: readonly [Part, readonly (keyof Draft)[]][] = [
  ["input", ["input"]],
  ["environment", ["env"]],
  ["limits", ["cpus", "memMb", "diskMb", "timeoutS", "maxOutputMb"]],
  ["network", ["allow"]],
  ["labels", ["labels"]],
];

export interface SpecFieldsProps {
  draft: Draft;
  mistakes: Mistakes;
  change: (changes: Partial<Draft>) => void;
  snippets: React.ReactNode;
  /** Another number brings what is wrong to light, and the keyboard to it. */
  reveal: number;
}

/** Everything about a workload but its code. */
export function SpecFields({ draft, mistakes, change, snippets, reveal }: SpecFieldsProps) {
  const [part, setPart] = useState<Part>("input");
  const revealed = useRef(reveal);
  useEffect(() => {
    if (revealed.current === reveal) return undefined;
    const wanted = PARTS.find(([, names]) => names.some((name) => mistakes[name] !== undefined))?.[0] ?? part;
    if (wanted !== part && mistakes.image === undefined) return setPart(wanted);
    revealed.current = reveal;
    document.querySelector<HTMLElement>("#main [aria-invalid=true]")?.focus();
    return undefined;
  }, [reveal, part, mistakes]);
  const set = (...names: (keyof Draft)[]) => names.some((name) => draft[name] !== PLAIN[name as keyof typeof PLAIN]);
  const wrong = (...names: (keyof Draft)[]) => names.some((name) => mistakes[name] !== undefined);
  const title = (text: string, ...names: (keyof Draft)[]) => (wrong(...names) ? <span className="text-bad">{text} !</span> : text);
  return (
    <section className="card min-w-0" data-testid="settings">
      <div className="border-b border-line px-2">
        <Tabs<Part>
          label="What the program gets"
          testId="settings"
          active={part}
          onChange={setPart}
          tabs={[
            { id: "input", title: title("Input", "input"), mark: set("input", "stdin") },
            { id: "environment", title: title("Environment", "env"), mark: set("env", "args") },
            { id: "limits", title: title("Limits", "cpus", "memMb", "diskMb", "timeoutS", "maxOutputMb"), mark: set("cpus", "memMb", "diskMb", "timeoutS", "maxOutputMb") },
            { id: "network", title: title("Network", "allow"), mark: set("network") },
            { id: "labels", title: title("Labels", "labels"), mark: set("labels") },
            { id: "code", title: "As code" },
          ]}
        />
      </div>
      <div role="tabpanel" aria-labelledby={`settings-${part}`} className="p-3">
        {part === "input" ? <InputPart draft={draft} mistakes={mistakes} change={change} /> : null}
        {part === "environment" ? (
          <div className="grid gap-3 sm:grid-cols-2">
            <Area label="Environment variables" hint="One NAME=value in a line." name="env" draft={draft} mistakes={mistakes} change={change} />
            <Area label="Arguments" hint="One in a line." name="args" draft={draft} mistakes={mistakes} change={change} />
          </div>
        ) : null}
        {part === "limits" ? (
          <div className="grid grid-cols-2 gap-3 sm:grid-cols-5">
            <Line label="CPUs" name="cpus" draft={draft} mistakes={mistakes} change={change} />
            <Line label="Memory, MiB" name="memMb" draft={draft} mistakes={mistakes} change={change} />
            <Line label="Disk, MiB" name="diskMb" draft={draft} mistakes={mistakes} change={change} />
            <Line label="Time, s" name="timeoutS" draft={draft} mistakes={mistakes} change={change} />
            <Line label="Output, MiB" name="maxOutputMb" draft={draft} mistakes={mistakes} change={change} />
          </div>
        ) : null}
        {part === "network" ? <NetworkPart draft={draft} mistakes={mistakes} change={change} /> : null}
        {part === "labels" ? <Area label="Labels" hint="One name=value in a line; lists can be filtered by them." name="labels" draft={draft} mistakes={mistakes} change={change} /> : null}
        {part === "code" ? snippets : null}
      </div>
    </section>
  );
}

type PartProps = Pick<SpecFieldsProps, "draft" | "mistakes" | "change">;

function InputPart({ draft, mistakes, change }: PartProps) {
  const [stdin, setStdin] = useState(draft.stdin !== "");
  return (
    <div className="grid gap-3 sm:grid-cols-2">
      <Area label="Input, JSON" hint="Reaches a function as its argument, a program on stdin." name="input" draft={draft} mistakes={mistakes} change={change} />
      {stdin ? (
        <Area label="stdin, instead of the input" hint="Text." name="stdin" draft={draft} mistakes={mistakes} change={change} />
      ) : (
        <div className="text-xs text-muted">
          <p>
            <strong className="font-medium text-ink">A function</strong> is a handler (Python), a default export (JavaScript) or Handler (Go). What it returns is the output.
          </p>
          <p className="mt-1.5">
            <strong className="font-medium text-ink">A program</strong> is anything else. What it writes to the file named by $CAISSON_OUTPUT is the output.
          </p>
          <button type="button" onClick={() => setStdin(true)} className="mt-1.5 text-info underline">
            Give it text on stdin
          </button>
        </div>
      )}
    </div>
  );
}

function NetworkPart({ draft, mistakes, change }: PartProps) {
  return (
    <div className="space-y-3">
      <Select
        label="Network"
        testId="network"
        value={draft.network}
        onChange={(network) => change({ network })}
        options={[
          { value: "none", title: "None" },
          { value: "egress", title: "Everywhere outside" },
          { value: "allow", title: "Only these destinations" },
        ]}
      />
      {draft.network === "allow" ? (
        <Area label="Destinations" hint="10.1.0.0/16, api.example.com, api.example.com:443; one in a line." name="allow" draft={draft} mistakes={mistakes} change={change} />
      ) : (
        <p className="text-xs text-muted">{draft.network === "none" ? "It reaches nothing, not even this machine." : "It reaches other networks, but not this machine and its own."}</p>
      )}
    </div>
  );
}

type TextName = "input" | "stdin" | "env" | "args" | "labels" | "allow" | "cpus" | "memMb" | "diskMb" | "timeoutS" | "maxOutputMb";
interface FieldProps extends PartProps {
  label: string;
  name: TextName;
  hint?: string;
}

function Area({ label, hint, name, draft, mistakes, change }: FieldProps) {
  return (
    <Labelled label={label} hint={hint} mistake={mistakes[name]}>
      {(attributes) => (
        <textarea {...attributes} data-testid={`field-${name}`} rows={3} spellCheck={false} value={draft[name]} onChange={(event) => change({ [name]: event.target.value })} className="field resize-y font-mono text-xs leading-5" />
      )}
    </Labelled>
  );
}

function Line({ label, name, draft, mistakes, change }: FieldProps) {
  return (
    <Labelled label={label} mistake={mistakes[name]}>
      {(attributes) => (
        <input {...attributes} inputMode="decimal" data-testid={`field-${name}`} value={draft[name]} onChange={(event) => change({ [name]: event.target.value })} className="field tabular" />
      )}
    </Labelled>
  );
}
