import { count } from "../logic/format";
import { useStore } from "../live/store";
import { TIERS, type NodeView, type Tier } from "../types";
import { NodeCard } from "./NodeCard";

const MEANING: Record<Tier, string> = {
  device: "in the user's hand",
  edge: "one radio hop away",
  cloud: "across the wide area",
};

/** The machines in three lanes, from the user outwards. */
export function Fleet({ tell }: { tell: (id: string) => void }) {
  const nodes = useStore((state) => state.nodes);
  const dead = nodes.filter((node) => !node.alive).length;
  return (
    <section className="fleet" aria-labelledby="fleet-title">
      <div className="section-head">
        <h2 id="fleet-title">Nodes</h2>
        <span className="muted">
          {count(nodes.length, "node", "nodes")}
          {dead > 0 && `, ${dead} not answering`}
        </span>
      </div>
      <div className="lanes">
        {TIERS.map((tier) => (
          <Lane key={tier} tier={tier} nodes={nodes.filter((node) => node.tier === tier)} tell={tell} />
        ))}
      </div>
    </section>
  );
}

function Lane({ tier, nodes, tell }: { tier: Tier; nodes: NodeView[]; tell: (id: string) => void }) {
  return (
    <div className={`lane tier-${tier}`} role="group" aria-label={`${tier} nodes`}>
      <h3>
        {tier} <span>{MEANING[tier]}</span>
      </h3>
      {nodes.length === 0 && <p className="muted none">none</p>}
      {nodes.map((node) => (
        <NodeCard key={node.name} node={node} tell={tell} />
      ))}
    </div>
  );
}
