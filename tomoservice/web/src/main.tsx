import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import "./style/base.css";
import "./style/controls.css";
import "./style/shell.css";
import "./style/scans.css";
import "./style/viewer.css";
import "./style/volume.css";
import "./style/workbench.css";

import { App } from "./App";

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
