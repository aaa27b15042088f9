import { useEffect, useRef, useState } from "react";

import { key } from "../live/api";
import { retryNow } from "../live/feed";
import { change } from "../live/store";

export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [value, setValue] = useState("");
  const [refused] = useState(key.get() !== "");
  useEffect(() => dialog.current?.showModal(), []);
  const submit = () => {
    key.set(value.trim());
    change((state) => ({ ...state, needKey: false }));
    retryNow();
  };
  return (
    <dialog ref={dialog} className="small-dialog" aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <h2 id="key-title">API key</h2>
        <p className="muted">
          {refused ? "The gateway does not accept this key." : "This gateway asks for a key."} It is kept until this tab is
          closed and sent to this gateway only.
        </p>
        <label className="field">
          <span>Key</span>
          <input type="password" autoComplete="off" required value={value} onChange={(e) => setValue(e.target.value)} />
        </label>
        <div className="buttons">
          <button type="submit" className="primary">
            Use this key
          </button>
        </div>
      </form>
    </dialog>
  );
}
