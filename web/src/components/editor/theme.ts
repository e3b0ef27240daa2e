import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

/** The editor in the theme's own colours, so that it is dark or light with the page. */
export const editorTheme = [
  EditorView.theme({
    "&": { height: "100%", fontSize: "12.5px", backgroundColor: "var(--panel)", color: "var(--ink)" },
    "&.cm-focused": { outline: "none" },
    // Above the gutters, which would cover an outline.
    "&:focus-within::after": { content: '""', position: "absolute", inset: "0", border: "2px solid var(--accent)", pointerEvents: "none", zIndex: "300" },
    ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "1.55" },
    ".cm-content": { caretColor: "var(--accent)", padding: "6px 0", outline: "none" },
    ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
    ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--faint)", border: "none" },
    ".cm-activeLineGutter, .cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--raised) 60%, transparent)" },
    "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
      backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent)",
    },
    ".cm-panels": { backgroundColor: "var(--raised)", color: "var(--ink)" },
    ".cm-textfield, .cm-button": { background: "var(--panel)", color: "var(--ink)", border: "1px solid var(--strong-line)" },
    ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--ink)", border: "1px solid var(--line)", borderRadius: "6px" },
    ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-fill)", color: "#fff" },
    ".cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent)" },
    ".cm-lintRange-error": { backgroundImage: "none", borderBottom: "2px solid var(--bad)" },
    ".cm-lintRange-warning": { backgroundImage: "none", borderBottom: "2px solid var(--warn)" },
    ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
    ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
    ".cm-lineWithError": { backgroundColor: "color-mix(in srgb, var(--bad) 12%, transparent)" },
  }),
  syntaxHighlighting(
    HighlightStyle.define([
      { tag: [tags.keyword, tags.modifier, tags.controlKeyword], color: "var(--gvisor)" },
      { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
      { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--microvm)" },
      { tag: [tags.comment, tags.meta], color: "var(--faint)", fontStyle: "italic" },
      { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.function(tags.variableName))], color: "var(--info)" },
      { tag: [tags.typeName, tags.className, tags.namespace], color: "var(--cyan)" },
      { tag: [tags.propertyName, tags.attributeName], color: "var(--accent)" },
      { tag: [tags.operator, tags.punctuation], color: "var(--muted)" },
      { tag: tags.invalid, color: "var(--bad)" },
    ]),
  ),
];
