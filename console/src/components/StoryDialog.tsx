import { useEffect, useRef, useState } from "react";

import { clock, seconds } from "../logic/format";
import { happenings, itemOf, type Happening } from "../logic/story";
import { read } from "../live/api";
import { useStore } from "../live/store";
import { Picture } from "./Picture";
import { Story } from "./Story";

/** The whole story of one picture, with the journal's events when the gateway tells them. */
export function StoryDialog({ id, close }: { id: string | null; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (id) dialog.current?.showModal();
    else dialog.current?.close();
  }, [id]);
  return (
    <dialog
      ref={dialog} className="story-dialog" aria-label="Story of a picture" onClose={close}
      onClick={(event) => {
        if (event.target === event.currentTarget) close(); // the backdrop
      }}
    >
      {id && <Told key={id} id={id} close={close} />}
    </dialog>
  );
}

function Told({ id, close }: { id: string; close: () => void }) {
  const known = useStore((state) => state.items.find((item) => item.id === id) ?? null);
  const status = known?.status;
  const [story, setStory] = useState<Record<string, unknown> | null>(null);
  useEffect(() => {
    let gone = false;
    read.story(id).then((told) => !gone && setStory(told)).catch(() => undefined);
    return () => {
      gone = true;
    };
  }, [id, status]);
  const item = known ?? (story ? itemOf(story) : null);
  return (
    <div className="told">
      <button type="button" className="quiet close" onClick={close} aria-label="Close">
        ✕
      </button>
      {!item && <p className="muted">Reading the journal…</p>}
      {item && (
        <div className="scene">
          <div className="canvas-column">
            <div className={`canvas done tier-${item.tier ?? "none"}`}>
              {item.image_url ? <Picture url={item.image_url} alt={item.prompt} /> : <span className="no-image" />}
            </div>
            <p className="caption">
              {clock(item.created)} · <code>{item.id}</code>
              {item.seed != null && ` · seed ${item.seed}`}
            </p>
          </div>
          <Story item={item} />
        </div>
      )}
      {story && <Events list={happenings(story)} digest={story.digest} />}
    </div>
  );
}

function Events({ list, digest }: { list: Happening[]; digest: unknown }) {
  if (list.length === 0 && typeof digest !== "string") return null;
  return (
    <div className="journal">
      <h3>Journal</h3>
      <ol>
        {list.map((event, i) => (
          <li key={i}>
            <span className="when">{event.after_s === null ? "" : `+${seconds(event.after_s)}`}</span>
            <b>{event.name}</b>
            <span className="muted">{event.rest}</span>
          </li>
        ))}
      </ol>
      {typeof digest === "string" && (
        <p className="muted">
          State digest <code>{digest}</code>
        </p>
      )}
    </div>
  );
}
