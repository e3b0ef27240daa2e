import { fileURLToPath } from "node:url";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The one place that names the server: the same variable that the command and the browser tests read.
const server = process.env.CAISSON_API ?? "http://127.0.0.1:8080";
const forwarded = ["/v1", "/openapi.json", "/healthz", "/readyz", "/metrics"];

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("src", import.meta.url)) } },
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(
      // A page served by Vite has another origin than the server, which refuses foreign ones.
      forwarded.map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }]),
    ),
    fs: { allow: [".."] },
  },
  build: {
    outDir: "../src/caisson/web",
    emptyOutDir: true,
    manifest: true,
    sourcemap: false,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
