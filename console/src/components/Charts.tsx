import { useEffect, useMemo, useState } from "react";

import { energyChart, latencyChart, predictionChart, qualityChart, type Palette } from "../logic/charts";
import { getState } from "../live/store";
import { TIERS, type Item } from "../types";
import { Chart } from "./Chart";
import { usePalette } from "./usePalette";

const REFRESH_MS = 1000;

const ALL: { title: string; note: string; build: (items: readonly Item[], palette: Palette) => object }[] = [
  { title: "Latency", note: "solid: P50 of the last 20, dashed: P95", build: latencyChart },
  { title: "Estimated quality", note: "line: mean of the last 20", build: qualityChart },
  { title: "Energy per picture", note: "device and node together; line: mean of the last 20", build: energyChart },
  { title: "Predicted against actual", note: "on the diagonal the prediction was right", build: predictionChart },
];

export default function Charts({ tell }: { tell: (id: string) => void }) {
  const items = useSlowly();
  const palette = usePalette();
  const options = useMemo(() => ALL.map(({ build }) => build(items, palette)), [items, palette]);
  const made = items.filter((item) => item.status === "finished").length;
  return (
    <section className="charts" aria-labelledby="charts-title">
      <div className="section-head">
        <h2 id="charts-title">Over time</h2>
        <ul className="legend" aria-label="Colours">
          {TIERS.map((tier) => (
            <li key={tier} className={`where tier-${tier}`}>
              <span className="dot" aria-hidden="true" />
              {tier}
            </li>
          ))}
          <li className="muted">
            <span className="ring" aria-hidden="true" /> deadline missed
          </li>
        </ul>
      </div>
      <div className="chart-grid">
        {ALL.map(({ title, note }, i) => (
          <figure key={title} className="panel">
            <figcaption>
              <b>{title}</b> <span className="muted">{note}</span>
            </figcaption>
            <Chart option={options[i] as object} label={`${title} of ${made} pictures`} tell={tell} />
          </figure>
        ))}
      </div>
    </section>
  );
}

/** Drawing is dear and news is frequent: look once a second, and redraw only if something changed. */
function useSlowly(): readonly Item[] {
  const [items, setItems] = useState(getState().items);
  useEffect(() => {
    const timer = setInterval(() => setItems(getState().items), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return items;
}
