// send_schedule lets a message wait: until a time, or until the session is connected.
import { html } from '../lib.js';
import { serverNow } from '../api.js';
import { Choice, Field } from '../ui/field.js';
import { fieldProblem } from '../ui/note.js';

const options = [['', 'Now'], ['queue', 'As soon as connected'], ['later', 'At a time']];

// inputTime writes a time as inputs take it, in the time zone of the browser.
export function inputTime(ms) {
  const d = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return d.toISOString().slice(0, 16);
}

export function Schedule({ form, set, error }) {
  return html`<${Choice} label="When" class="pills" options=${options} value=${form.when || ''} onInput=${(when) => set({ when, sendAt: form.sendAt || inputTime(serverNow() + 3600_000) })} />
    ${form.when === 'later' && html`<${Field} label="Send at" type="datetime-local" value=${form.sendAt} onInput=${(sendAt) => set({ sendAt })} min=${inputTime(serverNow())}
      hint="In your time zone, at most 30 days ahead." error=${fieldProblem(error, 'sendAt')} />`}`;
}

// scheduleOf returns the members of a send that make it wait.
export function scheduleOf(form) {
  if (form.when === 'queue') return { queue: true };
  if (form.when === 'later' && form.sendAt) return { sendAt: new Date(form.sendAt).toISOString() };
  return {};
}
