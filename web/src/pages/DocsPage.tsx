import { useEffect, useMemo, type ReactNode } from "react";

import { ButtonLink, Empty } from "@/components/ui";
import { parseMarkdown, type Block, type Inline } from "@/lib/markdown";
import { Link } from "@/lib/router";

const PAGES = import.meta.glob<string>(["../../../docs/index.md", "../../../docs/guides/*.md", "../../../docs/reference/*.md"], { query: "?raw", import: "default", eager: true });
const ROOT = "../../../docs/";

/** The documentation of the very version that serves it. */
export default function DocsPage({ path }: { path: string }) {
  const source = PAGES[`${ROOT}${path || "index"}.md`];
  const blocks = useMemo(() => (source === undefined ? [] : parseMarkdown(source)), [source]);
  const { hash } = window.location;
  useEffect(() => {
    if (hash) document.getElementById(decodeURIComponent(hash.slice(1)))?.scrollIntoView();
  }, [hash, blocks]);
  if (source === undefined) {
    return (
      <Empty page title="This page is not in the dashboard">
        <p className="mb-3">It is in the folder docs/ of the source.</p>
        <ButtonLink href="/docs/index">Contents</ButtonLink>
      </Empty>
    );
  }
  return (
    <article className="mx-auto max-w-3xl pb-10" data-testid="docs">
      {path && path !== "index" ? (
        <Link href="/docs/index" className="text-[13px] text-info hover:underline">
          Documentation
        </Link>
      ) : null}
      {blocks.map((block, at) => (
        <Shown key={at} block={block} page={path || "index"} />
      ))}
    </article>
  );
}

function Shown({ block, page }: { block: Block; page: string }) {
  const inner = (parts: readonly Inline[]) => parts.map((part, at) => <Part key={at} part={part} page={page} />);
  switch (block.kind) {
    case "heading": {
      const Tag = block.level === 1 ? "h1" : block.level === 2 ? "h2" : "h3";
      const size = { h1: "text-xl mt-2", h2: "text-base mt-7", h3: "text-sm mt-5" }[Tag];
      return (
        <Tag id={block.id} className={`mb-2 font-semibold tracking-tight ${size}`}>
          {inner(block.inner)}
        </Tag>
      );
    }
    case "paragraph":
      return <p className="my-2.5 leading-6">{inner(block.inner)}</p>;
    case "code":
      return (
        <pre tabIndex={0} className="card my-3 overflow-x-auto p-3 font-mono text-xs leading-5">
          {block.text}
        </pre>
      );
    case "list": {
      const Tag = block.ordered ? "ol" : "ul";
      return (
        <Tag className={`my-2.5 space-y-1.5 pl-5 leading-6 ${block.ordered ? "list-decimal" : "list-disc"}`}>
          {block.items.map((item, at) => (
            <li key={at}>{inner(item)}</li>
          ))}
        </Tag>
      );
    }
    case "table":
      return (
        <div className="card my-3 overflow-x-auto" tabIndex={0} role="group" aria-label="Table">
          <table className="w-full text-left text-[13px]">
            <thead>
              <tr className="border-b border-line text-xs text-muted [&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                {block.head.map((cell, at) => (
                  <th key={at}>{inner(cell)}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {block.rows.map((row, at) => (
                <tr key={at} className="border-b border-line/70 align-top last:border-0 [&>td]:px-3 [&>td]:py-1.5">
                  {row.map((cell, column) => (
                    <td key={column} id={column === 0 ? reasonOf(cell) : undefined}>
                      {inner(cell)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
  }
}

/** A row that begins with a name in code can be linked to by that name, unless it has an anchor already. */
function reasonOf(cell: readonly Inline[]): string | undefined {
  const [first] = cell;
  return first?.kind === "code" && /^[a-z_]+$/.test(first.text) ? first.text : undefined;
}

function Part({ part, page }: { part: Inline; page: string }): ReactNode {
  switch (part.kind) {
    case "text":
      return part.text;
    case "code":
      return <code className="rounded bg-raised px-1 font-mono text-[0.86em]">{part.text}</code>;
    case "strong":
      return <strong className="font-semibold">{part.inner.map((one, at) => <Part key={at} part={one} page={page} />)}</strong>;
    case "em":
      return <em>{part.inner.map((one, at) => <Part key={at} part={one} page={page} />)}</em>;
    case "anchor":
      return <span id={part.id} />;
    case "link":
      return (
        <Link href={resolved(part.href, page)} className="text-info underline" {...(part.href.includes("://") ? { target: "_blank", rel: "noreferrer" } : {})}>
          {part.inner.map((one, at) => <Part key={at} part={one} page={page} />)}
        </Link>
      );
  }
}

/** A link between files as a link between the dashboard's pages. */
function resolved(href: string, page: string): string {
  if (href.includes("://") || href.startsWith("#")) return href;
  return new URL(href, `http://docs/docs/${page}`).pathname.replace(/\.md$/, "") + (/#.*/.exec(href)?.[0] ?? "");
}
