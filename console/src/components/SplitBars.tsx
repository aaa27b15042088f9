import { seconds } from "../logic/format";
import type { Split } from "../types";

type Part = "upload" | "queue" | "load" | "generate" | "download";
const PARTS: readonly Part[] = ["upload", "queue", "load", "generate", "download"];

interface Props {
  predicted: Split | null | undefined;
  actual: Split | null | undefined;
  deadline_s: number | null | undefined;
}

/** Where the time went: predicted above actual on one scale, with the deadline as a line across both. */
export function SplitBars({ predicted, actual, deadline_s }: Props) {
  if (!predicted && !actual) return null;
  const longest = Math.max(predicted?.total_s ?? 0, actual?.total_s ?? 0, 1e-6);
  // A deadline far away would squeeze the bars; then it is only said in words.
  const inSight = deadline_s != null && deadline_s <= 2.5 * longest;
  const scale_s = (inSight ? Math.max(longest, deadline_s) : longest) * 1.02;
  return (
    <div className="split">
      <div className="bars" aria-hidden="true">
        {predicted && <Bar name="predicted" split={predicted} scale_s={scale_s} />}
        {actual && <Bar name="actual" split={actual} scale_s={scale_s} />}
        {inSight && (
          <div className="deadline-track">
            <i style={{ left: `${(100 * deadline_s) / scale_s}%` }} title={`deadline ${seconds(deadline_s)}`} />
          </div>
        )}
      </div>
      <Table predicted={predicted} actual={actual} />
    </div>
  );
}

function Bar({ name, split, scale_s }: { name: string; split: Split; scale_s: number }) {
  return (
    <div className="bar-row">
      <span>{name}</span>
      <div className="bar">
        {PARTS.map((part) => (
          <i key={part} className={`part part-${part}`} style={{ width: `${(100 * (split[`${part}_s`] ?? 0)) / scale_s}%` }} />
        ))}
      </div>
      <b>{seconds(split.total_s)}</b>
    </div>
  );
}

function Table({ predicted, actual }: Pick<Props, "predicted" | "actual">) {
  return (
    <table className="split-table">
      <thead>
        <tr>
          <td />
          {PARTS.map((part) => (
            <th key={part} scope="col">
              <i className={`swatch part-${part}`} aria-hidden="true" />
              {part}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {predicted && <Row name="predicted" split={predicted} />}
        {actual && <Row name="actual" split={actual} />}
      </tbody>
    </table>
  );
}

function Row({ name, split }: { name: string; split: Split }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      {PARTS.map((part) => (
        <td key={part}>{split[`${part}_s`] === 0 ? "0" : seconds(split[`${part}_s`])}</td>
      ))}
    </tr>
  );
}
