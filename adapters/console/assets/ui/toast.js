// toast tells that something was done, away from where the hand is.
import { html, useEffect } from '../lib.js';
import { createStore, useStore } from '../state.js';
import { Icon } from './icon.js';

const toasts = createStore([]);
let next = 0;

export function toast(text, tone = 'good') {
  toasts.set([...toasts.get(), { id: ++next, text, tone }].slice(-3));
}

function Toast({ id, text, tone }) {
  useEffect(() => {
    const timer = setTimeout(() => toasts.set(toasts.get().filter((t) => t.id !== id)), 5000);
    return () => clearTimeout(timer);
  }, [id]);
  return html`<div class=${'toast ' + tone}><${Icon} name=${tone === 'good' ? 'circle-check' : 'info'} size="18" />${text}</div>`;
}

export function Toasts() {
  const list = useStore(toasts);
  return html`<div class="toasts" role="status">${list.map((t) => html`<${Toast} key=${t.id} ...${t} />`)}</div>`;
}
