/** The little of Markdown that this project's pages are written in, as a tree. */
export type Inline = { kind: "text" | "code"; text: string } | { kind: "strong" | "em"; inner: Inline[] } | { kind: "link"; href: string; inner: Inline[] } | { kind: "anchor"; id: string };

export type Block =
  | { kind: "heading"; level: number; id: string; inner: Inline[] }
  | { kind: "paragraph"; inner: Inline[] }
  | { kind: "code"; text: string }
  | { kind: "list"; ordered: boolean; items: Inline[][] }
  | { kind: "table"; head: Inline[][]; rows: Inline[][][] };

export function parseMarkdown(source: string): Block[] {
  const lines = source.split("\n");
  const blocks: Block[] = [];
  let at = 0;
  const take = (fits: (line: string) => boolean): string[] => {
    const from = at;
    while (at < lines.length && fits(lines[at] ?? "")) at++;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const heading = /^(#{1,4}) (.*)$/.exec(line);
    if (line.trim() === "") at++;
    else if (heading) {
      blocks.push({ kind: "heading", level: heading[1]?.length ?? 1, id: slug(heading[2] ?? ""), inner: parseInline(heading[2] ?? "") });
      at++;
    } else if (line.startsWith("```")) {
      at++;
      blocks.push({ kind: "code", text: take((one) => !one.startsWith("```")).join("\n") });
      at++;
    } else if (line.startsWith("|")) {
      const rows = take((one) => one.startsWith("|")).map(cells);
      blocks.push({ kind: "table", head: rows[0] ?? [], rows: rows.slice(2) });
    } else if (/^(?:[-*]|\d+\.) /.test(line)) {
      const ordered = /^\d/.test(line);
      const items: string[] = [];
      for (const one of take((each) => /^(?:[-*]|\d+\.) |^\s+\S/.test(each))) {
        if (/^\s/.test(one)) items.push(`${items.pop() ?? ""} ${one.trim()}`);
        else items.push(one.replace(/^(?:[-*]|\d+\.) /, ""));
      }
      blocks.push({ kind: "list", ordered, items: items.map(parseInline) });
    } else {
      blocks.push({ kind: "paragraph", inner: parseInline(take((one) => one.trim() !== "" && !/^(?:#|```|\|)/.test(one)).join(" ")) });
    }
  }
  return blocks;
}

function cells(row: string): Inline[][] {
  // A bar inside code is written as \|.
  const parts = row.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/);
  return parts.map((part) => parseInline(part.trim().replaceAll("\\|", "|")));
}

const TOKEN = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|\[((?:[^[\]]|`[^`]*`)+)\]\(([^)\s]+)\)|<a id="([\w-]+)"><\/a>/g;

export function parseInline(text: string): Inline[] {
  const found: Inline[] = [];
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > from) found.push({ kind: "text", text: text.slice(from, match.index) });
    const [whole, code, strong, em, label, href, anchor] = match;
    if (code !== undefined) found.push({ kind: "code", text: code });
    else if (strong !== undefined) found.push({ kind: "strong", inner: parseInline(strong) });
    else if (em !== undefined) found.push({ kind: "em", inner: parseInline(em) });
    else if (label !== undefined) found.push({ kind: "link", href: href ?? "", inner: parseInline(label) });
    else if (anchor !== undefined) found.push({ kind: "anchor", id: anchor });
    from = match.index + whole.length;
  }
  if (from < text.length) found.push({ kind: "text", text: text.slice(from) });
  return found;
}

/** As code hosts make names of headings. */
export function slug(title: string): string {
  return title.toLowerCase().replace(/[`*[\]]|\([^)]*\)/g, "").replace(/[^\w\s-]/g, "").trim().replace(/\s+/g, "-");
}
