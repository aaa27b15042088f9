import { useEffect, useRef } from "react";

import { quality } from "../logic/format";
import { TIERS, type Tier } from "../types";
import { useStore } from "../live/store";
import { Field } from "./Field";
import { PromptField } from "./PromptField";
import type { Ask } from "./useAsk";

const PICTURES = [1, 2, 4, 8];

export function Compose({ ask }: { ask: Ask }) {
  const here = useRef<HTMLFormElement>(null);
  const { errors, refusal } = ask;
  useEffect(() => {
    // On a phone the wrong field may be out of sight above the button.
    here.current?.querySelector<HTMLElement>("[aria-invalid='true']")?.focus();
  }, [errors, refusal]);
  const elsewhere = refusal && refusal.param !== "prompt" ? refusal.message : null;
  return (
    <form
      ref={here}
      className="panel compose"
      aria-label="Ask for a picture"
      onSubmit={(event) => {
        event.preventDefault();
        ask.generate();
      }}
    >
      <PromptField ask={ask} />
      <Limits ask={ask} />
      <Choices ask={ask} />
      {elsewhere && (
        <p className="error" role="alert">
          {elsewhere}
        </p>
      )}
      <div className="buttons">
        <button type="submit" className="primary" disabled={ask.busy}>
          Generate
        </button>
        {ask.busy ? (
          <button type="button" onClick={ask.cancel}>
            Cancel
          </button>
        ) : (
          <button type="button" onClick={() => ask.plan()}>
            Plan only
          </button>
        )}
      </div>
    </form>
  );
}

function Limits({ ask: { form, edit, errors } }: { ask: Ask }) {
  return (
    <fieldset className="grid-2">
      <legend className="visually-hidden">Limits</legend>
      <Field name="Deadline" error={errors.deadline}>
        {(props) => (
          <span className="joined">
            <input {...props} inputMode="decimal" placeholder="none" value={form.deadline} onChange={(e) => edit({ deadline: e.target.value })} />
            <select aria-label="Unit of the deadline" value={form.deadlineUnit} onChange={(e) => edit({ deadlineUnit: e.target.value as "ms" | "s" })}>
              <option>s</option>
              <option>ms</option>
            </select>
          </span>
        )}
      </Field>
      <Field name="Energy limit" hint="of the asking device's battery" error={errors.energy_j}>
        {(props) => (
          <span className="joined">
            <input {...props} inputMode="decimal" placeholder="none" value={form.energy_j} onChange={(e) => edit({ energy_j: e.target.value })} />
            <span className="unit">J</span>
          </span>
        )}
      </Field>
      <Field name="Quality floor" wide aside={form.floor > 0 ? `at least ${quality(form.floor)}` : "no floor"}>
        {(props) => (
          <input
            {...props} type="range" min={0} max={0.95} step={0.05} value={form.floor}
            aria-valuetext={form.floor > 0 ? quality(form.floor) : "no floor"}
            onChange={(e) => edit({ floor: Number(e.target.value) })}
          />
        )}
      </Field>
    </fieldset>
  );
}

function Choices({ ask: { form, edit, errors } }: { ask: Ask }) {
  const models = useStore((state) => state.models).filter((name) => name !== "auto");
  const nodes = useStore((state) => state.nodes);
  const origins = nodes.filter((node) => node.tier === "device").map((node) => node.name);
  return (
    <fieldset className="grid-2">
      <legend className="visually-hidden">Choices left to edgegen unless you make them</legend>
      <Field name="Model">
        {(props) => (
          <select {...props} value={form.model} onChange={(e) => edit({ model: e.target.value })}>
            {["auto", ...models].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        )}
      </Field>
      <Field name="Steps" error={errors.steps}>
        {(props) => (
          <input
            {...props} list="step-counts" value={form.steps} onFocus={(e) => e.target.select()}
            onChange={(e) => edit({ steps: e.target.value.trim() || "auto" })}
          />
        )}
      </Field>
      <Field name="From" hint="the device that asks">
        {(props) => (
          <select {...props} value={form.origin} onChange={(e) => edit({ origin: e.target.value })}>
            <option value="">default</option>
            {origins.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        )}
      </Field>
      <Field name="Pictures">
        {(props) => (
          <select {...props} value={form.pictures} onChange={(e) => edit({ pictures: Number(e.target.value) })}>
            {PICTURES.map((n) => (
              <option key={n}>{n}</option>
            ))}
          </select>
        )}
      </Field>
      <datalist id="step-counts">
        {["auto", 1, 2, 4, 8, 16, 32].map((n) => (
          <option key={n} value={n} />
        ))}
      </datalist>
      <Tiers chosen={form.tiers} choose={(tiers) => edit({ tiers })} error={errors.tiers} />
    </fieldset>
  );
}

function Tiers({ chosen, choose, error }: { chosen: Tier[]; choose: (tiers: Tier[]) => void; error: string | undefined }) {
  return (
    <div className="field wide">
      <span id="tiers-label">May run on</span>
      <div className="tiers" role="group" aria-labelledby="tiers-label">
        {TIERS.map((tier) => (
          <label key={tier} className={`tier-choice tier-${tier}`}>
            <input
              type="checkbox" checked={chosen.includes(tier)}
              onChange={(e) => choose(e.target.checked ? [...chosen, tier] : chosen.filter((other) => other !== tier))}
            />
            {tier}
          </label>
        ))}
      </div>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
