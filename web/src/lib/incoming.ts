import { cleanPath, fromBytes, gunzip, unpackTar, type Files } from "./tar";
import { unpackZip } from "./zip";

/** What a file that was dropped or chosen holds: the files of an archive, or itself. */
export async function filesOf(file: File, path: string): Promise<Files> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (/\.(tar\.gz|tgz)$/i.test(file.name)) return withoutCommonFolder(unpackTar(await gunzip(bytes)));
  if (/\.tar$/i.test(file.name)) return withoutCommonFolder(unpackTar(bytes));
  if (/\.zip$/i.test(file.name)) return withoutCommonFolder(await unpackZip(bytes));
  const clean = cleanPath(path);
  return clean ? { [clean]: fromBytes(bytes) } : {};
}

/** What macOS puts into archives and folders beside what is in them. */
const OF_THE_SYSTEM = /(?:^|\/)(?:__MACOSX\/|\.DS_Store$)/;

/** Archives often hold one folder with everything in it; what counts is what is in that. */
export function withoutCommonFolder(all: Files): Files {
  const files = Object.fromEntries(Object.entries(all).filter(([name]) => !OF_THE_SYSTEM.test(name)));
  const names = Object.keys(files);
  const folder = names[0]?.includes("/") ? `${names[0].split("/")[0]}/` : null;
  if (folder === null || !names.every((name) => name.startsWith(folder))) return files;
  return Object.fromEntries(names.map((name) => [name.slice(folder.length), files[name] ?? ""]));
}

/** Everything that was dropped, folders included. */
export async function dropped(data: DataTransfer): Promise<Files> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found: Files = {};
  for (const entry of entries) await walk(entry, "", found);
  return entries.length === 1 && entries[0]?.isDirectory ? withoutCommonFolder(found) : found;
}

async function walk(entry: FileSystemEntry, prefix: string, found: Files): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    Object.assign(found, await filesOf(file, prefix + entry.name));
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const inner of some) await walk(inner, `${prefix}${entry.name}/`, found);
  }
}

export async function chosen(list: FileList): Promise<Files> {
  const found: Files = {};
  // The list is the element's own and empties with it, so it is copied before anything is waited for.
  for (const file of [...list]) Object.assign(found, await filesOf(file, file.webkitRelativePath || file.name));
  return found;
}
