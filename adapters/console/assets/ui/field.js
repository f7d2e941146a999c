// field draws inputs with their label, hint and problem. The problem comes in the words of the API.
import { html, useId, useState } from '../lib.js';
import { Icon } from './icon.js';

function Frame({ id, label, hint, error, isOptional, children, class: extra = '' }) {
  return html`<div class=${'field ' + extra + (error ? ' invalid' : '')}>
    <label for=${id}>${label}${isOptional && html` <span class="muted">(optional)</span>`}</label>
    ${children}
    ${hint && html`<p class="hint" id=${id + '-hint'}>${hint}</p>`}
    ${error && html`<p class="problem" id=${id + '-problem'}><${Icon} name="circle-alert" size="16" />${error}</p>`}
  </div>`;
}

const describedBy = (id, { hint, error }) => [hint && id + '-hint', error && id + '-problem'].filter(Boolean).join(' ') || undefined;

// Field is a line of text. onInput gets the text.
export function Field({ label, hint, error, isOptional, onInput, class: extra, ...rest }) {
  const id = useId();
  return html`<${Frame} ...${{ id, label, hint, error, isOptional, class: extra }}>
    <input id=${id} class="input" aria-invalid=${error ? 'true' : undefined} aria-describedby=${describedBy(id, { hint, error })}
      autocapitalize="off" spellcheck=${false} ...${rest} onInput=${(e) => onInput?.(e.currentTarget.value)} />
  <//>`;
}

export function TextArea({ label, hint, error, isOptional, onInput, class: extra, ...rest }) {
  const id = useId();
  return html`<${Frame} ...${{ id, label, hint, error, isOptional, class: extra }}>
    <textarea id=${id} class="input" rows="3" aria-invalid=${error ? 'true' : undefined} aria-describedby=${describedBy(id, { hint, error })}
      ...${rest} onInput=${(e) => onInput?.(e.currentTarget.value)}></textarea>
  <//>`;
}

// Select has options of [value, text].
export function Select({ label, hint, error, options, value, onInput, isOptional, class: extra, ...rest }) {
  const id = useId();
  return html`<${Frame} ...${{ id, label, hint, error, isOptional, class: extra }}>
    <div class="select"><select id=${id} class="input" aria-describedby=${describedBy(id, { hint, error })} value=${value}
      ...${rest} onInput=${(e) => onInput?.(e.currentTarget.value)}>
      ${options.map(([v, text]) => html`<option key=${v} value=${v} selected=${v === value}>${text}</option>`)}
    </select><${Icon} name="chevron-down" size="16" /></div>
  <//>`;
}

// Password is a secret that may be looked at.
export function Password({ label, hint, error, onInput, ...rest }) {
  const id = useId();
  const [isShown, setShown] = useState(false);
  return html`<${Frame} ...${{ id, label, hint, error }}>
    <div class="with-button"><input id=${id} class="input" type=${isShown ? 'text' : 'password'} aria-invalid=${error ? 'true' : undefined}
      aria-describedby=${describedBy(id, { hint, error })} autocapitalize="off" spellcheck=${false} ...${rest}
      onInput=${(e) => onInput?.(e.currentTarget.value)} />
      <button type="button" class="button quiet bare" aria-pressed=${String(isShown)} aria-label="Show the password" title="Show the password"
        onClick=${() => setShown(!isShown)}><${Icon} name=${isShown ? 'eye-off' : 'eye'} size="18" /></button></div>
  <//>`;
}

// Check is a box to tick.
export function Check({ label, hint, checked, onInput, ...rest }) {
  const id = useId();
  return html`<div class="check"><input id=${id} type="checkbox" checked=${checked} aria-describedby=${hint ? id + '-hint' : undefined}
    ...${rest} onInput=${(e) => onInput?.(e.currentTarget.checked)} />
    <label for=${id}>${label}</label>${hint && html`<p class="hint" id=${id + '-hint'}>${hint}</p>`}</div>`;
}

// Choice is one of a few, all in view. Options are [value, text, icon].
export function Choice({ label, options, value, onInput, class: extra = '' }) {
  const name = useId();
  return html`<fieldset class=${'choice ' + extra}><legend class=${label ? '' : 'hidden'}>${label}</legend>
    ${options.map(([v, text, icon]) => html`<label key=${v} class=${v === value ? 'on' : ''}>
      <input type="radio" name=${name} value=${v} checked=${v === value} onInput=${() => onInput(v)} />
      ${icon && html`<${Icon} name=${icon} size="16" />`}<span>${text}</span></label>`)}
  </fieldset>`;
}

// Search is the field above a list.
export function Search({ label, value, onInput, ...rest }) {
  const id = useId();
  return html`<div class="search"><label class="hidden" for=${id}>${label}</label><${Icon} name="search" size="18" />
    <input id=${id} class="input" type="search" placeholder=${label} value=${value} autocomplete="off" spellcheck=${false} ...${rest}
      onInput=${(e) => onInput(e.currentTarget.value)} /></div>`;
}
