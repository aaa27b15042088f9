import { useId, type ReactNode } from "react";

interface InputProps {
  id: string;
  "aria-invalid": boolean;
  "aria-describedby"?: string;
}

interface Props {
  name: string;
  aside?: string;
  hint?: string;
  error?: string | undefined;
  wide?: boolean;
  children: (props: InputProps) => ReactNode;
}

/** A labelled input; an error is announced and tied to it. */
export function Field({ name, aside, hint, error, wide = false, children }: Props) {
  const id = useId();
  const told = `${id}-error`;
  return (
    <div className={wide ? "field wide" : "field"}>
      <span className="label-row">
        <label htmlFor={id} title={hint}>
          {name}
        </label>
        {aside && <span className="aside">{aside}</span>}
      </span>
      {children({ id, "aria-invalid": Boolean(error), ...(error ? { "aria-describedby": told } : {}) })}
      {error && (
        <p className="error" id={told} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
