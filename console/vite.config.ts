import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` talks to a gateway (or to dev/fake_gateway.mjs) at this address.
const gateway = process.env.EDGEGEN_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  base: "./", // relative: the gateway may live under a path of a reverse proxy
  server: { proxy: { "/v1": gateway, "/healthz": gateway } },
  build: {
    outDir: process.env.EDGEGEN_CONSOLE_OUT ?? "../src/edgegen/serve/console",
    emptyOutDir: true,
    target: "es2022",
    license: { fileName: "licenses.md" }, // of the libraries inside the bundle
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: "react", test: /node_modules[\\/](react|react-dom|scheduler)[\\/]/ },
            { name: "echarts", test: /node_modules[\\/](echarts|zrender|tslib)[\\/]/ },
          ],
        },
      },
    },
  },
});
