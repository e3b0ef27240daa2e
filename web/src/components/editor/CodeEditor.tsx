import { closeBrackets, closeBracketsKeymap, completeAnyWord, autocompletion, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { lintGutter, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, Prec, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { useEffect, useRef } from "react";

import { offsetIn, type Spot } from "@/lib/traceback";

import { languageOf } from "./languages";
import { editorTheme } from "./theme";

export interface CodeEditorProps {
  path: string;
  text: string;
  onChange: (path: string, text: string) => void;
  onRun: () => void;
  markers: readonly Spot[];
  /** Whether the run that the markers come from failed; if not, they are warnings. */
  failed: boolean;
  /** A place to go to; a new object goes there again. */
  target: Spot | null;
  label: string;
}

/** Text with line numbers and colours. Each file keeps its own history of changes for as long as this is shown. */
export default function CodeEditor({ path, text, onChange, onRun, markers, failed, target, label }: CodeEditorProps) {
  const holder = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const states = useRef(new Map<string, EditorState>());
  const shown = useRef<string | null>(null);
  const marked = useRef(new Map<string, { markers: readonly Spot[]; failed: boolean }>());
  const handlers = useRef({ onChange, onRun });
  handlers.current = { onChange, onRun };

  useEffect(() => {
    // Styles are made as soon as there is a view, so the nonce that allows them must be there by then.
    const editor = new EditorView({ parent: holder.current ?? document.body, state: EditorState.create({ extensions: styleNonce() }) });
    view.current = editor;
    return () => {
      editor.destroy();
      view.current = null;
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    if (shown.current !== null && shown.current !== path) states.current.set(shown.current, editor.state);
    const known = states.current.get(path);
    const usable = known && known.doc.toString() === text ? known : null;
    if (shown.current !== path || editor.state.doc.toString() !== text) {
      shown.current = path;
      editor.setState(
        usable ??
          EditorState.create({
            doc: text,
            extensions: extensionsFor(path, label, (changed) => handlers.current.onChange(path, changed), () => handlers.current.onRun()),
          }),
      );
    }
  }, [path, text, label]);

  useEffect(() => {
    const editor = view.current;
    // They move with the text while it is edited, so they are set once for each file and run.
    if (!editor || (marked.current.get(path)?.markers === markers && marked.current.get(path)?.failed === failed)) return;
    marked.current.set(path, { markers, failed });
    const found: Diagnostic[] = [];
    for (const spot of markers) {
      if (spot.path !== path || spot.line < 1 || spot.line > editor.state.doc.lines) continue;
      const line = editor.state.doc.line(spot.line);
      // What is missing at the end of a line is marked on its last character: nothing cannot be underlined.
      const from = Math.max(line.from, Math.min(line.to - 1, line.from + offsetIn(line.text, spot)));
      found.push({ from, to: line.to, severity: failed ? "error" : "warning", message: spot.message });
    }
    editor.dispatch(setDiagnostics(editor.state, found));
  }, [path, markers, failed]);

  useEffect(() => {
    const editor = view.current;
    if (!editor || target?.path !== path || target.line > editor.state.doc.lines) return;
    const line = editor.state.doc.line(Math.max(1, target.line));
    const at = line.from + offsetIn(line.text, target);
    editor.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
    editor.focus();
  }, [path, target]);

  return <div ref={holder} data-testid="editor" className="h-full min-h-0 overflow-hidden" />;
}

function styleNonce(): Extension {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content;
  return nonce ? EditorView.cspNonce.of(nonce) : [];
}

function extensionsFor(path: string, label: string, changed: (text: string) => void, run: () => void): Extension {
  return [
    styleNonce(),
    Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => (run(), true) }])),
    lineNumbers(),
    lintGutter(),
    history(),
    drawSelection(),
    indentOnInput(),
    indentUnit.of(path.endsWith(".py") ? "    " : path.endsWith(".go") ? "\t" : "  "),
    bracketMatching(),
    closeBrackets(),
    autocompletion({ override: [completeAnyWord], activateOnTyping: false }),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    // Escape, then Tab, leaves the editor, as CodeMirror documents for whoever works without a mouse.
    keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...completionKeymap, indentWithTab]),
    EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) changed(update.state.doc.toString());
    }),
    languageOf(path),
    editorTheme,
  ];
}
