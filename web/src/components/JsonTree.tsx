import { useState } from "react";

import type { Json } from "@/api/types";
import { Exact } from "@/lib/exact";

const FIRST_ITEMS = 100;
const LONGEST_TEXT = 2_000;

/** JSON as a tree that opens and closes. Everything in it is text: what a program puts out is never markup. */
export function JsonTree({ value, testId }: { value: Json; testId?: string }) {
  return (
    <div data-testid={testId} className="overflow-x-auto font-mono text-[12.5px] leading-5" tabIndex={0} role="group" aria-label="Output">
      <Node value={value} depth={0} />
    </div>
  );
}

function Node({ name, value, depth }: { name?: string; value: Json; depth: number }) {
  const isTree = value !== null && typeof value === "object" && !(value instanceof Exact);
  return isTree ? <Branch name={name} value={value} depth={depth} /> : <Leaf name={name} value={value} />;
}

function Name({ name }: { name: string | undefined }) {
  return name === undefined ? null : <span className="text-info">{name === "" ? '""' : name}: </span>;
}

function Leaf({ name, value }: { name: string | undefined; value: null | boolean | number | string | Exact }) {
  const color = typeof value === "string" ? "text-ok" : typeof value === "number" || value instanceof Exact ? "text-gvisor" : "text-warn";
  const text = value instanceof Exact ? value.text : typeof value === "string" ? JSON.stringify(value) : String(value);
  return (
    <div className="pl-4 break-words whitespace-pre-wrap">
      <Name name={name} />
      <span className={color}>{text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}… (${text.length} characters)` : text}</span>
    </div>
  );
}

function Branch({ name, value, depth }: { name: string | undefined; value: readonly Json[] | { readonly [name: string]: Json }; depth: number }) {
  const isList = Array.isArray(value);
  const size = isList ? value.length : Object.keys(value).length;
  const [open, setOpen] = useState(depth < 2 && size <= FIRST_ITEMS);
  const [shown, setShown] = useState(FIRST_ITEMS);
  const [left, right] = isList ? ["[", "]"] : ["{", "}"];
  if (size === 0) return <div className="pl-4"><Name name={name} />{left}{right}</div>;
  const items: [string | undefined, Json][] = open
    ? isList
      ? value.slice(0, shown).map((item: Json, at: number) => [String(at), item])
      : Object.entries(value).slice(0, shown)
    : [];
  return (
    <div className={depth > 0 ? "pl-4" : ""}>
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)} className="-ml-0.5 rounded px-0.5 text-left hover:bg-raised">
        <span className="inline-block w-3.5 text-faint">{open ? "▾" : "▸"}</span>
        <Name name={name} />
        {left}
        {open ? "" : `…${right}`}
        {open ? null : <span className="text-faint"> {size}</span>}
      </button>
      {items.map(([key, item]) => (
        <Node key={key} name={key} value={item} depth={depth + 1} />
      ))}
      {open && size > shown ? (
        <button type="button" className="pl-4 text-info underline" onClick={() => setShown(shown + 10 * FIRST_ITEMS)}>
          {size - shown} more
        </button>
      ) : null}
      {open ? <div className="pl-3.5">{right}</div> : null}
    </div>
  );
}
