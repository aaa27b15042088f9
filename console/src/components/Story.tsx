import type { ReactNode } from "react";

import { dollars, joules, quality, seconds } from "../logic/format";
import { errorText, isOver } from "../logic/state";
import { energyOf } from "../logic/stats";
import type { Item } from "../types";
import { Reason } from "./Reason";
import { SplitBars } from "./SplitBars";
import { Where } from "./Where";

/** What was decided for one picture, why, and how it came out. */
export function Story({ item, children }: { item: Item; children?: ReactNode }) {
  const made = item.status !== "refused" && item.status !== "failed" && item.status !== "cancelled";
  return (
    <div className={`story tier-${item.tier ?? "none"}`}>
      <p className="prompt">{item.prompt}</p>
      {item.node && (
        <p className="decision">
          <Where node={item.node} tier={item.tier} />
          {item.model && <span>{item.model}</span>}
          {item.steps != null && <span>{item.steps === 1 ? "1 step" : `${item.steps} steps`}</span>}
          <Verdict item={item} />
        </p>
      )}
      {made ? item.reason && <Reason text={item.reason} tier={item.tier} /> : <p className="reason bad-text">{errorText(item)}</p>}
      {children}
      <SplitBars predicted={item.predicted} actual={item.actual} deadline_s={item.deadline_s} />
      <Facts item={item} />
    </div>
  );
}

export function Verdict({ item }: { item: Item }) {
  if (item.status !== "finished") return <span className={`verdict ${isOver(item) ? "bad" : ""}`}>{item.status}</span>;
  if (item.met_deadline == null || item.deadline_s == null) return null;
  return item.met_deadline ? <span className="verdict good">deadline met</span> : <span className="verdict bad">late</span>;
}

function Facts({ item }: { item: Item }) {
  const split = item.actual ?? item.predicted;
  return (
    <dl className="facts">
      <Fact name="Deadline" value={item.deadline_s == null ? "none" : seconds(item.deadline_s)} />
      {item.quality_estimate != null && (
        <Fact name="Estimated quality" value={quality(item.quality_estimate)} note={item.category ? `for ${item.category} prompts` : undefined} />
      )}
      {split && (
        <Fact
          name={item.actual ? "Energy" : "Energy, predicted"}
          value={joules(energyOf(split))}
          note={`device ${joules(split.device_energy_j)}, node ${joules(split.node_energy_j)}`}
        />
      )}
      {split && (split.money_usd ?? 0) > 0 && <Fact name="Cost" value={dollars(split.money_usd)} />}
      {item.origin && <Fact name="Asked from" value={item.origin} />}
      {item.policy && <Fact name="Policy" value={item.policy} />}
      {item.emulated && item.emulated.length > 0 && (
        <Fact name="Emulated" value={item.emulated.join(", ")} note="the denoising is real" wide />
      )}
    </dl>
  );
}

interface FactProps {
  name: string;
  value: string;
  note?: string | undefined;
  wide?: boolean;
}

function Fact({ name, value, note, wide = false }: FactProps) {
  return (
    <div className={wide ? "wide-fact" : undefined}>
      <dt>{name}</dt>
      <dd>
        {value}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
}
