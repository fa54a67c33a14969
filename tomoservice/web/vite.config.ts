import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `tomoservice serve` serves the page under this path.
export default defineConfig({
  base: "/tomo/",
  plugins: [react()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    // The viewer brings three.js, which is one large piece; it is loaded when a picture is shown.
    chunkSizeWarningLimit: 1500,
  },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8000", ws: true } } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
