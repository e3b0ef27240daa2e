import { useRef, useState, type DragEvent } from "react";

import { cleanPath, type Files } from "@/lib/tar";

import { Icon } from "./Icon";
import { Button } from "./ui";

export interface FileTreeProps {
  files: Files;
  open: string;
  entrypoint: string;
  onOpen: (path: string) => void;
  onEntry: (path: string) => void;
  onCreate: (path: string) => void;
  onRename: (from: string, to: string) => void;
  onDelete: (path: string) => void;
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
  const { files, open, entrypoint, onOpen, onEntry, onCreate, onRename, onDelete, onDrop, onUpload, onDownload } = props;
  const [naming, setNaming] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const finish = (text: string) => {
    const path = cleanPath(text);
    const from = naming;
    setNaming(null);
    if (!path || path === from) return;
    if (from === "") onCreate(path);
    else if (from !== null) onRename(from, path);
  };
  const drop = (event: DragEvent, folder: string) => {
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    const moved = event.dataTransfer.getData("application/x-caisson-file");
    if (moved) onRename(moved, `${folder}${moved.split("/").pop() ?? moved}`);
    else onDrop(event.dataTransfer);
  };
  const allow = (event: DragEvent) => {
    event.preventDefault();
    setOver(true);
  };
  return (
    <div
      data-testid="files"
      className={`flex max-h-32 min-h-0 flex-col sm:h-full sm:max-h-none ${over ? "bg-accent/10" : ""}`}
      onDragOver={allow}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => drop(event, "")}
    >
      <div className="flex h-[37px] items-center border-b border-line px-1.5">
        <span className="px-1 text-xs font-medium text-muted">Files</span>
        <span className="ml-auto flex">
          <Button look="quiet" icon="plus" aria-label="New file" title="New file" testId="file-new" onClick={() => setNaming("")} />
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
          row.isFolder ? (
            <li key={`${row.path}/`} data-testid="folder" data-path={row.path} onDragOver={allow} onDrop={(event) => drop(event, `${row.path}/`)} className="flex h-7 items-center gap-1.5 text-[13px] text-muted" style={{ paddingLeft: 8 + row.depth * 12 }}>
              <Icon name="folder" size={14} />
              <span className="truncate">{row.name}</span>
            </li>
          ) : naming === row.path ? (
            <li key={row.path} className="px-1.5 py-0.5"><NameField initial={row.path} onDone={finish} /></li>
          ) : (
            <li key={row.path} className={`group relative flex h-7 items-center pr-1 text-[13px] ${row.path === open ? "bg-raised" : "hover:bg-raised/60"}`} style={{ paddingLeft: 8 + row.depth * 12 }}>
              <button
                type="button"
                draggable
                data-testid="file"
                data-path={row.path}
                aria-current={row.path === open}
                title={`${row.path}${row.path === entrypoint ? " (this is run)" : ""}. F2 renames, Delete throws away.`}
                onClick={() => onOpen(row.path)}
                onDoubleClick={() => setNaming(row.path)}
                onDragStart={(event) => event.dataTransfer.setData("application/x-caisson-file", row.path)}
                onKeyDown={(event) => {
                  if (event.key === "F2") setNaming(row.path);
                  else if (event.key === "Delete") onDelete(row.path);
                }}
                className="flex min-w-0 flex-1 items-center gap-1.5 self-stretch text-left"
              >
                <Icon name={row.path === entrypoint ? "play" : "file"} size={14} className={row.path === entrypoint ? "text-accent" : "text-faint"} />
                <span className="truncate">{row.name}</span>
              </button>
              <span className="absolute right-1 flex rounded bg-raised opacity-0 group-focus-within:opacity-100 group-hover:opacity-100">
                {row.path === entrypoint ? null : (
                  <IconButton icon="play" label={`Run ${row.path}`} testId="file-entry" onClick={() => onEntry(row.path)} />
                )}
                <IconButton icon="edit" label={`Rename ${row.path}`} testId="file-rename" onClick={() => setNaming(row.path)} />
                <IconButton icon="trash" label={`Delete ${row.path}`} testId="file-delete" onClick={() => onDelete(row.path)} />
              </span>
            </li>
          ),
        )}
        {naming === "" ? <li className="px-1.5 py-0.5"><NameField initial="" onDone={finish} /></li> : null}
      </ul>
    </div>
  );
}

function IconButton({ icon, label, testId, onClick }: { icon: "play" | "edit" | "trash"; label: string; testId: string; onClick: () => void }) {
  return (
    <button type="button" aria-label={label} title={label} data-testid={testId} onClick={onClick} className="rounded p-1 text-faint hover:text-ink">
      <Icon name={icon} size={13} />
    </button>
  );
}

function NameField({ initial, onDone }: { initial: string; onDone: (text: string) => void }) {
  return (
    <input
      autoFocus
      aria-label="Path of the file"
      data-testid="file-name"
      defaultValue={initial}
      onFocus={(event) => event.target.select()}
      onBlur={(event) => onDone(event.target.value)}
      onKeyDown={(event) => {
        if (event.key === "Enter") onDone(event.currentTarget.value);
        else if (event.key === "Escape") onDone(initial);
      }}
      className="field !min-h-6 !px-1.5 !py-0 font-mono text-xs"
    />
  );
}
