import { useState } from "react";

import { joules, quality, seconds } from "../logic/format";
import { isChosen, ranked } from "../logic/plan";
import { energyOf } from "../logic/stats";
import { useStore } from "../live/store";
import type { Alternative, Plan, Tier } from "../types";
import { Reason } from "./Reason";
import { OfferBox, Refused } from "./Refused";
import { Where } from "./Where";
import type { Ask, Planning } from "./useAsk";

const FIRST = 12;

/** What would be done and what else could be: nothing runs. */
export function PlanView({ ask, planning }: { ask: Ask; planning: Planning }) {
  const policies = useStore((state) => state.policies);
  const { plan, error, policy } = planning;
  return (
    <div className="plan">
      <div className="plan-head">
        <h2>Plan</h2>
        <label className="inline-field">
          <span>by policy</span>
          <select value={policy} onChange={(e) => ask.plan(e.target.value)}>
            <option value="">{plan && !policy ? `${plan.policy} (in use)` : "the one in use"}</option>
            {policies.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <button type="button" className="quiet" onClick={ask.dismiss}>
          Close
        </button>
      </div>
      {error && <Refused ask={ask} error={error} />}
      {plan && <Decided plan={plan} ask={ask} />}
    </div>
  );
}

function Decided({ plan, ask }: { plan: Plan; ask: Ask }) {
  const { decision } = plan;
  return (
    <>
      {decision ? (
        <p className="decision">
          <Where node={decision.node} tier={decision.tier} />
          <span>{decision.model}</span>
          <span>{decision.steps === 1 ? "1 step" : `${decision.steps} steps`}</span>
        </p>
      ) : (
        <p className="decision bad-text">No choice keeps every limit.</p>
      )}
      <Reason text={plan.reason} tier={decision?.tier} />
      {plan.offer && <OfferBox ask={ask} offer={plan.offer} />}
      <Alternatives plan={plan} />
    </>
  );
}

function Alternatives({ plan }: { plan: Plan }) {
  const [all, setAll] = useState(false);
  const nodes = useStore((state) => state.nodes);
  const rows = ranked(plan);
  const longest_s = Math.max(...rows.map((row) => row.predicted?.total_s ?? 0), 1e-6);
  const tierOf = (name: string) => nodes.find((node) => node.name === name)?.tier ?? null;
  return (
    <div className="table-scroll" tabIndex={0} role="region" aria-label="Alternatives">
      <table className="alternatives">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">Model</th>
            <th scope="col">Steps</th>
            <th scope="col">Time</th>
            <th scope="col">Quality</th>
            <th scope="col">Energy</th>
            <th scope="col">Why not</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, all ? rows.length : FIRST).map((row) => (
            <Row key={`${row.node} ${row.model} ${row.steps}`} row={row} tier={tierOf(row.node)} chosen={isChosen(plan, row)} longest_s={longest_s} />
          ))}
        </tbody>
      </table>
      {rows.length > FIRST && (
        <button type="button" className="quiet" onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${rows.length}`}
        </button>
      )}
    </div>
  );
}

interface RowProps {
  row: Alternative;
  tier: Tier | null;
  chosen: boolean;
  longest_s: number;
}

function Row({ row, tier, chosen, longest_s }: RowProps) {
  const why = chosen ? "chosen" : (row.why_not ?? (row.feasible ? "" : "breaks a limit"));
  return (
    <tr className={`${chosen ? "chosen" : row.feasible ? "" : "infeasible"} tier-${tier ?? "none"}`}>
      <td>
        <Where node={row.node} tier={tier} />
      </td>
      <td>{row.model}</td>
      <td className="num">{row.steps}</td>
      <td className="num time">
        <i style={{ width: `${(46 * (row.predicted?.total_s ?? 0)) / longest_s}px` }} aria-hidden="true" />
        {seconds(row.predicted?.total_s)}
      </td>
      <td className="num">{quality(row.quality_estimate)}</td>
      <td className="num">{joules(energyOf(row.predicted))}</td>
      <td className="why">{why}</td>
    </tr>
  );
}
