/** Puts a text on the clipboard. Raises Error where the browser does not allow it. */
export async function copyText(text: string): Promise<void> {
  // There is none where a server is reached by a name, without TLS: browsers keep it from such pages.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard) return clipboard.writeText(text);
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!copied) throw new Error("not allowed");
  return undefined;
}
