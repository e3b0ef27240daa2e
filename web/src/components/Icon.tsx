/** Line icons on a grid of 16, drawn for this dashboard. They are decoration: a text or a label stands beside each. */
const SHAPES = {
  home: "M2.5 7.5 8 2.8l5.5 4.7M4 6.5v6.7h8V6.5",
  plus: "M8 3v10M3 8h10",
  list: "M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01",
  layers: "M8 2 14 5.2 8 8.4 2 5.2zM2.4 8.2 8 11.2l5.6-3M2.4 11 8 14l5.6-3",
  server: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  scale: "M3 13V8M6.5 13V3M10 13V6M13.5 13v-3M1.5 13.5h13",
  play: "M5 3.2v9.6l7.5-4.8z",
  stop: "M4 4h8v8H4z",
  check: "m3.2 8.4 3 3 6.6-6.8",
  cross: "m4 4 8 8M12 4l-8 8",
  clock: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2M8 4.8V8l2.2 1.6",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4M10.2 10.2l3.3 3.3",
  copy: "M5.5 5.5h7v7.5h-7zM3.5 10.5v-8h7",
  download: "M8 2.5v7.5M4.8 7.2 8 10.2l3.2-3M3 13.3h10",
  upload: "M8 10.2V2.8M4.8 5.6 8 2.6l3.2 3M3 13.3h10",
  wrap: "M2.5 4h11M2.5 8h8.5a2.3 2.3 0 0 1 0 4.6H8M9.6 11 8 12.6l1.6 1.5M2.5 12.5h2.5",
  down: "M8 3v9.5M4 8.8l4 4 4-4",
  end: "m4 3.2 4 4 4-4M4 8.6l4 4 4-4",
  up: "M8 13V3.5M4 7.2l4-4 4 4",
  right: "m6 3.5 4.5 4.5L6 12.5",
  file: "M4 2.2h5l3 3v8.6H4zM8.8 2.4v3h3",
  folder: "M2 12.6V3.6h4.2l1.5 1.8H14v7.2z",
  trash: "M3 4.4h10M6.2 4.2V2.6h3.6v1.6M4.4 4.6l.6 8.8h6l.6-8.8",
  edit: "m3 13 .6-3 7.2-7.2 2.4 2.4L6 12.4z",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2.4v2.8h-2.8",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M12.8 9.6A5.4 5.4 0 0 1 6.4 3.2 5.4 5.4 0 1 0 12.8 9.6",
  screen: "M2.2 3h11.6v8H2.2zM6 13.5h4",
  key: "M5.2 6.6a2.9 2.9 0 1 0 0 5.8 2.9 2.9 0 0 0 0-5.8M7.4 7.5l5.4-5M10.6 4.4l1.8 1.9",
  book: "M3 2.8h4.2c.6 0 .8.4.8.8v9.6c0-.5-.4-.8-.9-.8H3zM13 2.8H8.8c-.6 0-.8.4-.8.8v9.6c0-.5.4-.8.9-.8H13z",
  dot: "M8 6.6a1.4 1.4 0 1 0 0 2.8 1.4 1.4 0 0 0 0-2.8",
  star: "m8 2.4 1.7 3.6 3.9.5-2.9 2.7.8 3.9L8 11.2l-3.5 1.9.8-3.9L2.4 6.5l3.9-.5z",
} as const;

export type IconName = keyof typeof SHAPES;

export function Icon({ name, size = 16, className = "" }: { name: IconName; size?: number; className?: string }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      aria-hidden="true"
      className={`shrink-0 ${className}`}
      fill={name === "dot" || name === "play" || name === "stop" ? "currentColor" : "none"}
      stroke="currentColor"
      strokeWidth="1.4"
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      <path d={SHAPES[name]} />
    </svg>
  );
}
