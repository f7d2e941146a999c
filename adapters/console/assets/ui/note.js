// note draws what a page has to say: failures, warnings, empty states, and that something is loading.
import { html } from '../lib.js';
import { Icon } from './icon.js';
import { Button } from './button.js';
import { CopyText } from './copy.js';

// Problem shows an error of the API beside its cause, with the request id.
export function Problem({ error, onRetry, title }) {
  if (!error) return null;
  const others = Object.entries(error.fields || {}).filter(([, text]) => text !== error.message);
  return html`<div class="note bad" role="alert"><${Icon} name="circle-alert" />
    <div class="grow"><p>${title && html`<strong>${title} </strong>`}${error.message}</p>
      ${others.length > 0 && html`<ul>${others.map(([field, text]) => html`<li key=${field}>${text}</li>`)}</ul>`}
      ${error.requestId && html`<p class="small muted">Request <${CopyText} text=${error.requestId} name="request id" /></p>`}
    </div>
    ${onRetry && html`<${Button} isSmall icon="rotate-ccw" onClick=${onRetry}>Try again<//>`}
  </div>`;
}

// fieldProblem returns what an error says of one field.
export const fieldProblem = (error, ...names) => names.map((name) => error?.fields?.[name]).find(Boolean);

// FormProblem shows an error unless the fields of the form show all of it.
export function FormProblem({ error, fields }) {
  if (!error) return null;
  const told = Object.keys(error.fields || {});
  if (told.length > 0 && told.every((name) => fields.includes(name))) return null;
  return html`<${Problem} error=${error} />`;
}

const icons = { info: 'info', good: 'circle-check', warn: 'triangle-alert', bad: 'circle-alert' };

export function Note({ tone = 'info', children, action }) {
  return html`<div class=${'note ' + tone}><${Icon} name=${icons[tone]} /><div class="grow">${children}</div>${action}</div>`;
}

// Empty teaches what would be here, and has the one button that begins it.
export function Empty({ icon, title, children, action }) {
  return html`<div class="empty"><span class="empty-icon"><${Icon} name=${icon} size="28" /></span>
    <h3>${title}</h3><p>${children}</p>${action}</div>`;
}

// Loading keeps the room of what is coming.
export function Loading({ rows = 3, label = 'Loading' }) {
  return html`<div class="loading" role="status"><span class="hidden">${label}…</span>
    ${Array.from({ length: rows }, (_, i) => html`<div key=${i} class="skeleton"></div>`)}</div>`;
}

// Loaded shows the state of useLoad until there are data.
export function Loaded({ state, children, rows }) {
  if (state.data !== undefined) {
    return html`${state.error && html`<${Problem} error=${state.error} title="Not up to date." onRetry=${state.reload} />`}${children(state.data)}`;
  }
  if (state.error) return html`<${Problem} error=${state.error} onRetry=${state.reload} />`;
  return html`<${Loading} rows=${rows} />`;
}
