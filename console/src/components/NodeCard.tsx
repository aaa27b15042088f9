import { bitrate, joules, seconds, share } from "../logic/format";
import { useStore } from "../live/store";
import type { Link, NodeView, Running } from "../types";
import { Emulated } from "./Where";

const PIPS = 12; // more waiting pictures than this are only counted

export function NodeCard({ node, tell }: { node: NodeView; tell: (id: string) => void }) {
  const busy = node.running.length > 0;
  return (
    <article className={`node ${node.alive ? "" : "dead"} ${busy ? "busy" : ""}`} aria-label={node.name}>
      <header>
        <h4>{node.name}</h4>
        <span className={busy ? "visually-hidden" : "state"}>{node.alive ? (busy ? "working" : "idle") : "not answering"}</span>
      </header>
      <div className="jobs">
        {node.running.map((job) => (
          <Job key={job.id} job={job} tell={tell} />
        ))}
        {!busy && <div className="job idle" aria-hidden="true" />}
      </div>
      <Queue node={node} />
      <dl className="node-facts">
        <Fact name="busy, last 30 s" value={share(node.utilisation)} meter={node.utilisation} />
        <Fact name="made" value={String(node.finished)} />
        <Fact name="energy" value={joules(node.energy_j)} />
      </dl>
      <div className="node-foot">
        <Models node={node} />
        <LinkLine link={node.link} />
        <Emulated what={node.emulated} />
      </div>
    </article>
  );
}

function Job({ job, tell }: { job: Running; tell: (id: string) => void }) {
  const live = useStore((state) => state.progress.get(job.id));
  const step = Math.max(job.step, live?.step ?? 0); // progress events come more often than node news
  const steps = live?.steps ?? job.steps; // they may change while it is made
  return (
    <button type="button" className="job" onClick={() => tell(job.id)}>
      {live?.preview && <img src={`data:image/png;base64,${live.preview}`} alt="" />}
      <span>
        {job.model} <span className="muted">step {step} of {steps}</span>
      </span>
      <progress max={steps} value={step} aria-label={`step ${step} of ${steps}`} />
    </button>
  );
}

function Queue({ node }: { node: NodeView }) {
  const waiting = node.queue === 0 ? "nothing waits" : `${node.queue} waiting, ${seconds(node.backlog_s)} of work`;
  return (
    <div className="queue">
      <span className="pips" aria-hidden="true">
        {Array.from({ length: Math.min(node.queue, PIPS) }, (_, i) => (
          <i key={i} />
        ))}
      </span>
      <span className="muted">{waiting}</span>
    </div>
  );
}

function Models({ node }: { node: NodeView }) {
  return (
    <span className="models">
      {node.models.map((model) => {
        const resident = node.resident.includes(model);
        return (
          <span key={model} className={resident ? "model resident" : "model"} title={resident ? "loaded" : "not loaded yet"}>
            {model}
          </span>
        );
      })}
    </span>
  );
}

function LinkLine({ link }: { link: Link | null }) {
  if (!link || (!link.uplink_bps && !link.downlink_bps)) return <span className="link">no link needed</span>;
  return (
    <span className="link">
      ↑ {bitrate(link.uplink_bps)} ↓ {bitrate(link.downlink_bps)} rtt {seconds(link.rtt_s)}
    </span>
  );
}

function Fact({ name, value, meter }: { name: string; value: string; meter?: number }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value}
        {meter !== undefined && <i className="meter" aria-hidden="true" style={{ "--fill": meter } as React.CSSProperties} />}
      </dd>
    </div>
  );
}
