/** The form and what was last asked with it: a run of Generate, or a plan. */

import { useCallback, useRef, useState } from "react";

import { GatewayError, read } from "../live/api";
import { generate, type Run } from "../live/generate";
import { change } from "../live/store";
import { BLANK, check, requestBody, type FieldErrors, type Form } from "../logic/form";
import type { Plan } from "../types";

export interface Planning {
  policy: string; // "" is the gateway's own
  plan: Plan | null;
  error: GatewayError | null;
}

export interface Ask {
  form: Form;
  edit: (by: Partial<Form>) => void;
  errors: FieldErrors;
  refusal: GatewayError | null; // what the gateway did not understand about the form
  run: Run | null;
  planning: Planning | null;
  busy: boolean;
  generate: (form?: Form) => void;
  plan: (policy?: string) => void;
  cancel: () => void;
  dismiss: () => void;
}

export function useAsk(): Ask {
  const [form, setForm] = useState<Form>(BLANK);
  const [errors, setErrors] = useState<FieldErrors>({});
  const [run, setRun] = useState<Run | null>(null);
  const [planning, setPlanning] = useState<Planning | null>(null);
  const stop = useRef<AbortController | null>(null);

  const edit = useCallback((by: Partial<Form>) => {
    setForm((old) => ({ ...old, nodes: [], ...by }));
    setErrors({});
    setRun((old) => (old?.over && old.error ? null : old));
  }, []);

  const valid = (wanted: Form): boolean => {
    const found = check(wanted);
    setErrors(found);
    return Object.keys(found).length === 0;
  };

  const start = (wanted: Form = form) => {
    if (!valid(wanted)) return;
    setForm(wanted);
    setPlanning(null);
    stop.current?.abort();
    const mine = new AbortController();
    stop.current = mine;
    void generate(wanted, mine.signal, (news) => {
      if (stop.current === mine) setRun(news);
    });
  };

  const plan = (policy = planning?.policy ?? "") => {
    if (!valid(form)) return;
    setPlanning((old) => ({ policy, plan: old?.plan ?? null, error: null }));
    void planned(form, policy).then(setPlanning);
  };

  const wrong = planning ? planning.error : (run?.error ?? null);
  return {
    form, edit, errors, run, planning,
    refusal: wrong && isAboutTheForm(wrong) ? wrong : null,
    busy: run !== null && !run.over,
    generate: start,
    plan,
    cancel: () => stop.current?.abort(),
    dismiss: () => {
      setPlanning(null);
      setRun((old) => (old?.over ? null : old));
    },
  };
}

async function planned(form: Form, policy: string): Promise<Planning> {
  const body = requestBody(form, 0);
  const edgegen = { ...(body.edgegen as object), ...(policy ? { policy } : {}) };
  try {
    return { policy, plan: await read.plan({ ...body, edgegen }), error: null };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    if (error.status === 401) change((state) => ({ ...state, needKey: true }));
    return { policy, plan: null, error };
  }
}

export function isAboutTheForm(error: GatewayError): boolean {
  return error.status === 400 && error.code !== "infeasible" && error.param !== "edgegen.policy";
}
