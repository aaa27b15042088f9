import { joules, quality, seconds, share } from "../logic/format";
import { summarise } from "../logic/stats";
import { useStore } from "../live/store";

export function Header() {
  const connection = useStore((state) => state.connection);
  const items = useStore((state) => state.items);
  const figures = summarise(items);
  const word = { live: "live", connecting: "connecting", lost: "disconnected" }[connection.kind];
  return (
    <header className="top">
      <div className="brand">
        <Mark />
        <h1>edgegen</h1>
        <span className={`pulse pulse-${connection.kind}`} role="status">
          {word}
        </span>
      </div>
      <dl className="figures" aria-label={`Over the last ${items.length} requests`}>
        <Figure name="pictures" value={String(figures.finished)} />
        <Figure name="deadlines met" value={share(figures.metShare)} />
        <Figure name="P50" value={seconds(figures.p50_s)} />
        <Figure name="P95" value={seconds(figures.p95_s)} />
        <Figure name="est. quality" value={quality(figures.quality)} />
        <Figure name="per picture" value={joules(figures.energy_j)} />
        <Figure name="refused" value={String(figures.refused)} />
      </dl>
    </header>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <path d="M7 24 16 9l9 10" fill="none" stroke="var(--faint)" strokeWidth="2.5" />
      <circle cx="7" cy="24" r="5" fill="var(--device)" />
      <circle cx="16" cy="9" r="5" fill="var(--edge)" />
      <circle cx="25" cy="19" r="5" fill="var(--cloud)" />
    </svg>
  );
}
