import { useEffect, useRef } from "react";

import { isOf, type Run } from "../live/generate";
import { useStore } from "../live/store";
import type { Item } from "../types";
import { Card } from "./GalleryCard";
import { Picture } from "./Picture";
import { PlanView } from "./PlanView";
import { Refused } from "./Refused";
import { Story } from "./Story";
import { isAboutTheForm, type Ask } from "./useAsk";

/** The place beside the form: a plan, a picture that forms, or the latest one with its story. */
export function Stage({ ask, tell }: { ask: Ask; tell: (id: string) => void }) {
  const here = useRef<HTMLElement>(null);
  const started = ask.run?.seed ?? (ask.planning ? "plan" : null);
  useEffect(() => {
    // On a phone the stage is below the form; on a desk this does nothing.
    if (started !== null) here.current?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }, [started]);
  return (
    <section className="panel stage" aria-label="Picture" ref={here}>
      <Content ask={ask} tell={tell} />
    </section>
  );
}

function Content({ ask, tell }: { ask: Ask; tell: (id: string) => void }) {
  const { run, planning } = ask;
  if (planning && !(planning.error && isAboutTheForm(planning.error))) return <PlanView ask={ask} planning={planning} />;
  if (run?.error && !isAboutTheForm(run.error)) return <Refused ask={ask} error={run.error} />;
  if (run && !run.error && run.pictures > 1) return <Several run={run} tell={tell} />;
  if (run && !run.error) return <Forming run={run} />;
  return <Latest />;
}

function Forming({ run }: { run: Run }) {
  const items = useStore((state) => state.items);
  const progress = useStore((state) => state.progress);
  const item = run.items[0] ?? items.find((other) => isOf(run, other)) ?? null;
  const at = item ? progress.get(item.id) : undefined;
  const shown = run.final ?? run.partials.at(-1) ?? (at?.preview ? `data:image/png;base64,${at.preview}` : null);
  const phase = run.final ? "Finished" : at ? "In the making" : item ? "Waiting for its turn" : "Deciding";
  return (
    <div className="scene">
      <div className="canvas-column">
        <div className={`canvas ${run.final ? "done" : "forming"} tier-${item?.tier ?? "none"}`}>
          {shown ? <img src={shown} alt={run.prompt} /> : <span className="no-image" />}
          {!run.final && <progress max={at?.steps ?? 1} value={at?.step ?? 0} aria-label="Denoising" />}
        </div>
        <p className="caption">
          <span role="status">{phase}</span>
          {at && !run.final && <span aria-hidden="true">{`, step ${at.step} of ${at.steps}`}</span>}
        </p>
        <Strip run={run} />
      </div>
      {item ? <Story item={item} /> : <p className="prompt">{run.prompt}</p>}
    </div>
  );
}

/** The partial pictures side by side, so that the forming can still be seen when it is over. */
function Strip({ run }: { run: Run }) {
  const all = run.final ? [...run.partials, run.final] : run.partials;
  if (all.length < 2) return null;
  return (
    <ol className="strip" aria-label="How it formed">
      {all.map((picture, i) => (
        <li key={i}>
          <img src={picture} alt={i === run.partials.length ? "final" : `partial picture ${i + 1}`} />
        </li>
      ))}
    </ol>
  );
}

function Several({ run, tell }: { run: Run; tell: (id: string) => void }) {
  const items = useStore((state) => state.items);
  const mine = run.items.length > 0 ? run.items : items.filter((item) => isOf(run, item));
  return (
    <div className="several">
      <p className="prompt">{run.prompt}</p>
      <p className="muted" role="status">
        {run.over ? `${run.items.length} pictures` : `${run.pictures} pictures are being made.`}
      </p>
      <ul className="cards">
        {mine.map((item) => (
          <li key={item.id}>
            <Card item={item} tell={tell} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Latest() {
  const latest = useStore((state) => state.items.find(isShowable) ?? null);
  if (!latest) {
    return (
      <div className="empty">
        <p>Ask for a picture.</p>
        <p className="muted">
          edgegen decides where it runs, on which model and with how many steps. Here you see it form, and why it was decided so.
        </p>
      </div>
    );
  }
  return (
    <div className="scene">
      <div className="canvas-column">
        <div className={`canvas done tier-${latest.tier ?? "none"}`}>
          <Picture url={latest.image_url as string} alt={latest.prompt} />
        </div>
        <p className="caption">Latest picture</p>
      </div>
      <Story item={latest} />
    </div>
  );
}

function isShowable(item: Item): boolean {
  return item.status === "finished" && Boolean(item.image_url);
}
