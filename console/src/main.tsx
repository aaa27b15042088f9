import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/compose.css";
import "./styles/story.css";
import "./styles/fleet.css";
import "./styles/watch.css";
import "./styles/gallery.css";
import "./styles/charts.css";

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
