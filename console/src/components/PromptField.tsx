import { useState } from "react";

import { useStore } from "../live/store";
import { Field } from "./Field";
import type { Ask } from "./useAsk";

export function PromptField({ ask }: { ask: Ask }) {
  const { form, edit, errors, refusal } = ask;
  const fromGateway = refusal?.param === "prompt" ? refusal.message : undefined;
  return (
    <>
      <Field name="Prompt" error={errors.prompt ?? fromGateway}>
        {(props) => (
          <textarea
            {...props} rows={2} maxLength={400} spellCheck={false} placeholder="a red circle left of a blue square"
            value={form.prompt}
            onChange={(e) => edit({ prompt: e.target.value })}
            onKeyDown={(e) => {
              if (e.key !== "Enter" || e.shiftKey) return;
              e.preventDefault();
              if (!ask.busy) ask.generate();
            }}
          />
        )}
      </Field>
      <Examples choose={(prompt) => edit({ prompt })} />
      <KnownWords add={(word) => edit({ prompt: `${form.prompt.trimEnd()} ${word}`.trimStart() })} />
    </>
  );
}

function Examples({ choose }: { choose: (prompt: string) => void }) {
  const grammar = useStore((state) => state.grammar);
  const [turn, setTurn] = useState(0);
  if (!grammar) return null;
  const chips = grammar.categories.flatMap((category) => {
    const prompts = grammar.examples[category] ?? [];
    const prompt = prompts[turn % Math.max(1, prompts.length)];
    return prompt ? [{ category, prompt }] : [];
  });
  return (
    <div className="chips" role="group" aria-label="Example prompts">
      <span className="muted">Try</span>
      {chips.map(({ category, prompt }) => (
        <button key={category} type="button" className="chip" title={prompt} aria-label={`${category}: ${prompt}`} onClick={() => {
          choose(prompt);
          setTurn(turn + 1);
        }}>
          {category}
        </button>
      ))}
    </div>
  );
}

function KnownWords({ add }: { add: (word: string) => void }) {
  const grammar = useStore((state) => state.grammar);
  if (!grammar) return null;
  return (
    <details className="words">
      <summary>{grammar.words.length} words it knows</summary>
      <div className="chips" role="group" aria-label="Known words">
        {grammar.words.map((word) => (
          <button key={word} type="button" className="chip word" onClick={() => add(word)}>
            {word}
          </button>
        ))}
      </div>
    </details>
  );
}
