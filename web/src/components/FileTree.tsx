import { useEffect, useRef, useState, type DragEvent, type KeyboardEvent } from "react";

import { nameMistake } from "@/lib/names";
import { cleanPath, type Files } from "@/lib/tar";

import { Icon } from "./Icon";
import { Button } from "./ui";

export interface FileTreeProps {
  files: Files;
  open: string;
  entrypoint: string;
  /** The files that the last run named, and whether it failed. */
  named: ReadonlySet<string>;
  failed: boolean;
  onOpen: (path: string) => void;
  onEntry: (path: string) => void;
  onCreate: (path: string) => void;
  /** Both take a folder as well. */
  onRename: (from: string, to: string) => void;
  onDelete: (path: string) => void;
  onTrouble: (text: string) => void;
  onDrop: (data: DataTransfer) => void;
  onUpload: (files: FileList) => void;
  onDownload: () => void;
}

interface Row {
  path: string;
  name: string;
  depth: number;
  isFolder: boolean;
}

/** Files and the folders that follow from their names, folders first. */
function rowsOf(files: Files): Row[] {
  const rows: Row[] = [];
  const walk = (prefix: string, depth: number) => {
    const folders = new Set<string>();
    const here: string[] = [];
    for (const path of Object.keys(files)) {
      if (!path.startsWith(prefix)) continue;
      const rest = path.slice(prefix.length);
      const slash = rest.indexOf("/");
      if (slash < 0) here.push(rest);
      else folders.add(rest.slice(0, slash));
    }
    for (const name of [...folders].sort()) {
      rows.push({ path: `${prefix}${name}`, name, depth, isFolder: true });
      walk(`${prefix}${name}/`, depth + 1);
    }
    for (const name of here.sort()) rows.push({ path: prefix + name, name, depth, isFolder: false });
  };
  walk("", 0);
  return rows;
}

/** The files of a workload: made, renamed, moved, thrown away, dropped in and taken out. */
export function FileTree(props: FileTreeProps) {
  const { files, open, entrypoint, named, failed, onOpen, onEntry, onCreate, onRename, onDelete, onTrouble, onDrop, onUpload, onDownload } = props;
  const [naming, setNaming] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const tree = useRef<HTMLDivElement>(null);
  // Whoever works with the keyboard stays where the row is, though the row is another one now.
  const focusNext = useRef<string | null>(null);
  useEffect(() => {
    if (focusNext.current === null || naming !== null) return;
    const rows = [...(tree.current?.querySelectorAll<HTMLElement>("[data-row]") ?? [])];
    const wanted = rows.find((row) => row.dataset["row"] === focusNext.current) ?? tree.current?.querySelector<HTMLElement>("[data-new]");
    focusNext.current = null;
    wanted?.focus();
  });
  const names = Object.keys(files);
  const mistakeIn = (text: string) => nameMistake(names, naming || null, text);
  /** Null: it keeps its name, or does not come to be. */
  const finish = (text: string | null, byKey: boolean) => {
    const path = text === null ? null : cleanPath(text);
    const from = naming ?? "";
    setNaming(null);
    if (byKey) focusNext.current = path ?? from;
    if (path === null || path === from) return;
    if (from === "") onCreate(path);
    else onRename(from, path);
  };
  const remove = (path: string) => {
    const rows = rowsOf(files).map((row) => row.path);
    const staying = rows.filter((row) => row !== path && !row.startsWith(`${path}/`));
    focusNext.current = staying.find((row) => rows.indexOf(row) > rows.indexOf(path)) ?? staying.at(-1) ?? "";
    onDelete(path);
  };
  const onRowKey = (path: string) => (event: KeyboardEvent) => {
    if (event.key === "F2") setNaming(path);
    else if (event.key === "Delete") remove(path);
  };
  const drop = (event: DragEvent, folder: string) => {
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    const moved = event.dataTransfer.getData("application/x-caisson-file");
    if (moved) {
      const to = `${folder}${moved.split("/").pop() ?? moved}`;
      const mistake = to === moved ? null : nameMistake(names, moved, to);
      if (mistake) onTrouble(`It was not moved. ${mistake}`);
      else if (to !== moved) onRename(moved, to);
    } else onDrop(event.dataTransfer);
  };
  const allow = (event: DragEvent) => {
    event.preventDefault();
    setOver(true);
  };
  return (
    <div
      ref={tree}
      data-testid="files"
      className={`flex max-h-32 min-h-0 flex-col sm:h-full sm:max-h-none ${over ? "bg-accent/10" : ""}`}
      onDragOver={allow}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => drop(event, "")}
    >
      <div className="flex h-[37px] items-center border-b border-line px-1.5">
        <span className="px-1 text-xs font-medium text-muted">Files</span>
        <span className="ml-auto flex">
          <Button look="quiet" icon="plus" aria-label="New file" title="New file" testId="file-new" data-new onClick={() => setNaming("")} />
          <Button look="quiet" icon="upload" aria-label="Add files, tar.gz or zip" title="Add files, tar.gz or zip" testId="file-upload" onClick={() => picker.current?.click()} />
          <Button look="quiet" icon="download" aria-label="Download as tar.gz" title="Download as tar.gz" testId="file-download" onClick={onDownload} />
        </span>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          data-testid="file-input"
          onChange={(event) => {
            if (event.target.files) onUpload(event.target.files);
            event.target.value = "";
          }}
        />
      </div>
      <ul className="min-h-0 flex-1 overflow-y-auto py-1" aria-label="Files">
        {rowsOf(files).map((row) =>
          naming === row.path ? (
            <li key={row.path} className="px-1.5 py-0.5"><NameField initial={row.path} mistakeIn={mistakeIn} onDone={finish} /></li>
          ) : row.isFolder ? (
            <li key={`${row.path}/`} data-testid="folder" data-path={row.path} onDragOver={allow} onDrop={(event) => drop(event, `${row.path}/`)} className="group relative flex h-7 items-center text-[13px] text-muted hover:bg-raised/60" style={{ paddingLeft: 8 + row.depth * 12 }}>
              <button
                type="button"
                draggable
                data-row={row.path}
                title={`The folder ${row.path}. F2 renames, Delete throws away.`}
                onDoubleClick={() => setNaming(row.path)}
                onDragStart={(event) => event.dataTransfer.setData("application/x-caisson-file", row.path)}
                onKeyDown={onRowKey(row.path)}
                className="flex min-w-0 flex-1 items-center gap-1.5 self-stretch text-left"
              >
                <Icon name="folder" size={14} />
                <span className="truncate">{row.name}</span>
              </button>
              <span className={ACTIONS}>
                <IconButton icon="edit" label={`Rename the folder ${row.path}`} testId="folder-rename" onClick={() => setNaming(row.path)} />
                <IconButton icon="trash" label={`Delete the folder ${row.path}`} testId="folder-delete" onClick={() => remove(row.path)} />
              </span>
            </li>
          ) : (
            <li key={row.path} className={`group relative flex h-7 items-center pr-1 text-[13px] ${row.path === open ? "bg-raised" : "hover:bg-raised/60"}`} style={{ paddingLeft: 8 + row.depth * 12 }}>
              <button
                type="button"
                draggable
                data-testid="file"
                data-path={row.path}
                data-row={row.path}
                aria-current={row.path === open}
                title={`${row.path}${row.path === entrypoint ? " (this is run)" : ""}. F2 renames, Delete throws away.`}
                onClick={() => onOpen(row.path)}
                onDoubleClick={() => setNaming(row.path)}
                onDragStart={(event) => event.dataTransfer.setData("application/x-caisson-file", row.path)}
                onKeyDown={onRowKey(row.path)}
                className="flex min-w-0 flex-1 items-center gap-1.5 self-stretch text-left"
              >
                <Icon name={row.path === entrypoint ? "play" : "file"} size={14} className={row.path === entrypoint ? "text-accent" : "text-faint"} />
                <span className="truncate">{row.name}</span>
                {named.has(row.path) ? <Named failed={failed} /> : null}
              </button>
              <span className={ACTIONS}>
                {row.path === entrypoint ? null : (
                  <IconButton icon="play" label={`Run ${row.path}`} testId="file-entry" onClick={() => onEntry(row.path)} />
                )}
                <IconButton icon="edit" label={`Rename ${row.path}`} testId="file-rename" onClick={() => setNaming(row.path)} />
                <IconButton icon="trash" label={`Delete ${row.path}`} testId="file-delete" onClick={() => remove(row.path)} />
              </span>
            </li>
          ),
        )}
        {naming === "" ? <li className="px-1.5 py-0.5"><NameField initial="" mistakeIn={mistakeIn} onDone={finish} /></li> : null}
      </ul>
    </div>
  );
}

/** Where there is no pointer that hovers, they are always there: what cannot be seen must not be pressed. */
const ACTIONS = "absolute right-1 flex rounded bg-raised opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 pointer-coarse:opacity-100";

/** Says that the last run named a file. */
export function Named({ failed }: { failed: boolean }) {
  return (
    <span className={`shrink-0 font-mono text-xs font-semibold ${failed ? "text-bad" : "text-warn"}`} title="The last run named lines of it">
      !<span className="sr-only"> named by the last run</span>
    </span>
  );
}

function IconButton({ icon, label, testId, onClick }: { icon: "play" | "edit" | "trash"; label: string; testId: string; onClick: () => void }) {
  return (
    <button type="button" aria-label={label} title={label} data-testid={testId} onClick={onClick} className="rounded p-1 text-faint hover:text-ink">
      <Icon name={icon} size={13} />
    </button>
  );
}

interface NameFieldProps {
  initial: string;
  mistakeIn: (text: string) => string | null;
  onDone: (text: string | null, byKey: boolean) => void;
}

function NameField({ initial, mistakeIn, onDone }: NameFieldProps) {
  const [mistake, setMistake] = useState<string | null>(null);
  // A field that is taken away loses the focus, too.
  const done = useRef(false);
  const end = (text: string | null, byKey: boolean) => {
    if (!done.current) onDone(text, byKey);
    done.current = true;
  };
  const check = (text: string) => (text === initial ? null : mistakeIn(text));
  return (
    <>
      <input
        autoFocus
        aria-label="Path of the file"
        aria-invalid={mistake !== null}
        aria-describedby="file-name-mistake"
        data-testid="file-name"
        defaultValue={initial}
        onFocus={(event) => event.target.select()}
        onChange={() => setMistake(null)}
        onBlur={(event) => end(check(event.target.value) === null ? event.target.value : null, false)}
        onKeyDown={(event) => {
          if (event.key === "Escape") end(null, true);
          if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
          const text = event.currentTarget.value;
          const found = check(text);
          if (found === null || text.trim() === "") end(found === null ? text : null, true);
          else setMistake(found);
        }}
        className="field !min-h-6 !px-1.5 !py-0 font-mono text-xs"
      />
      <p id="file-name-mistake" role="alert" data-testid="file-name-mistake" className="text-xs text-bad empty:hidden">
        {mistake}
      </p>
    </>
  );
}
