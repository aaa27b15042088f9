import { useEffect, useState } from "react";

import type { Palette } from "../logic/charts";

const DARK = "(prefers-color-scheme: dark)";

/** The stylesheet's colours for the canvas, which cannot read them itself. */
export function usePalette(): Palette {
  const [palette, setPalette] = useState(readPalette);
  useEffect(() => {
    const scheme = matchMedia(DARK);
    const read = () => setPalette(readPalette());
    scheme.addEventListener("change", read);
    return () => scheme.removeEventListener("change", read);
  }, []);
  return palette;
}

function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    tiers: { device: colour("device"), edge: colour("edge"), cloud: colour("cloud") },
    ink: colour("ink"), muted: colour("muted"), line: colour("line"), panel: colour("panel"), bad: colour("bad"),
  };
}
