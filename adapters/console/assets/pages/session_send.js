// session_send sends a message of any type. Files are dropped onto the form, or chosen.
import { html, useState } from '../lib.js';
import { call } from '../api.js';
import { useEvents } from '../events.js';
import { useAction } from '../load.js';
import { Icon } from '../ui/icon.js';
import { Button } from '../ui/button.js';
import { Check, Choice, Field } from '../ui/field.js';
import { FormProblem, Note, fieldProblem } from '../ui/note.js';
import { ReceiptBadge } from '../ui/badge.js';
import { Ago, phone } from '../ui/time.js';
import { contents, isMedia } from './send_content.js';
import { Scheduled } from './scheduled.js';
import { Schedule, scheduleOf } from './send_schedule.js';

const types = [
  ['text', 'Text', 'message-square'], ['image', 'Picture', 'image'], ['document', 'File', 'file-text'], ['audio', 'Voice', 'mic'], ['video', 'Video', 'video'],
  ['sticker', 'Sticker', 'sticker'], ['location', 'Location', 'map-pin'], ['contact', 'Contact', 'contact'], ['link', 'Link', 'link'], ['poll', 'Poll', 'vote'],
];

// requestOf makes the body of a send: a form with the file, or JSON.
function requestOf(form) {
  const body = { to: form.to, type: form.type, ...contents[form.type].body(form) };
  if (form.humanSimulation) body.humanSimulation = true;
  if (form.quotedMessageId) body.quotedMessageId = form.quotedMessageId;
  Object.assign(body, scheduleOf(form));
  if (!isMedia(form.type) || !form.file) return { body };
  const parts = new FormData();
  for (const [name, value] of Object.entries(body)) if (name !== 'mediaUrl') parts.append(name, value);
  parts.append('media', form.file, form.filename || form.file.name);
  return { form: parts };
}

const blank = { question: '', options: ['', ''], multipleAnswers: false };

export function Send({ session }) {
  const [form, setForm] = useState({ to: '', type: 'text', ...blank });
  const [sent, setSent] = useState([]);
  const [queued, setQueued] = useState(0); // how often something was queued
  const act = useAction(async () => {
    const key = crypto.getRandomValues(new Uint32Array(4)).join('-');
    const answer = await call('POST', `/sessions/${session.id}/send`, { ...requestOf(form), headers: { 'Idempotency-Key': key } });
    if (form.when) setQueued((n) => n + 1);
    setSent((list) => [answer.data, ...list].slice(0, 5));
    setForm((f) => ({ to: f.to, type: f.type, when: f.when, ...blank }));
  });
  useEvents((e) => {
    if (!e.type.startsWith('message.') || e.sessionId !== session.id) return;
    setSent((list) => (list.some((m) => m.id === e.data.id) ? list.map((m) => (m.id === e.data.id ? { ...m, ...e.data } : m)) : list));
  });
  const set = (values) => setForm((f) => ({ ...f, ...(typeof values === 'function' ? values(f) : values) }));
  const Content = contents[form.type].view;
  const isDown = session.status !== 'CONNECTED';
  return html`<div class="columns"><form class="panel stack" aria-label="Send a message" onSubmit=${(e) => { e.preventDefault(); act.run(); }} novalidate>
      ${isDown && html`<${Note} tone="warn"><p>The session is not connected, so a message is refused unless you queue it.</p><//>`}
      <${Field} label="To" name="to" hint="A number in international format, or a JID of a group." inputmode="tel" autocomplete="off" required value=${form.to}
        onInput=${(to) => set({ to })} error=${fieldProblem(act.error, 'to')} />
      <${Choice} label="Type" class="pills" options=${types} value=${form.type} onInput=${(type) => { act.clear(); set({ type, file: null }); }} />
      <${Content} form=${form} set=${set} error=${act.error} />
      <details class="more-options"><summary>Options</summary><div class="stack">
        <${Field} label="Reply to" isOptional hint="The id of the message that this one answers." value=${form.quotedMessageId || ''} onInput=${(v) => set({ quotedMessageId: v })} error=${fieldProblem(act.error, 'quotedMessageId')} />
        <${Check} label="Type like a person" hint="The worker shows “typing…” for some seconds before it sends." checked=${form.humanSimulation} onInput=${(v) => set({ humanSimulation: v })} />
        <${Schedule} form=${form} set=${set} error=${act.error} /></div></details>
      <${FormProblem} error=${act.error} fields=${['to', 'quotedMessageId', 'sendAt', ...contents[form.type].fields]} />
      <div><${Button} type="submit" variant="primary" icon=${form.when === 'later' ? 'calendar-clock' : 'send'} isBusy=${act.isBusy}>${form.when === 'later' ? 'Schedule' : form.when === 'queue' ? 'Queue' : 'Send message'}<//></div>
    </form>
    <div class="stack"><section class="panel stack" aria-label="Just sent"><h2>Just sent</h2>
      ${sent.length === 0 ? html`<p class="muted">What you send here appears with its receipts: sent, delivered, read.</p>`
        : html`<ul class="rows" aria-live="polite">${sent.map((m) => html`<li key=${m.id} data-sent=${m.id} data-status=${m.status}>
            <div class="grow"><p><bdi>${phone(m.to)}</bdi></p><p class="small muted">${types.find(([t]) => t === m.type)?.[1] || m.type} · <${Ago} at=${m.createdAt || m.timestamp} /></p>
            ${m.errorMessage && html`<p class="problem">${m.errorMessage}</p>`}</div><${ReceiptBadge} status=${m.status} /></li>`)}</ul>
          <p><a href=${`/sessions/${session.id}/messages`}>See the conversation <${Icon} name="chevron-right" size="16" class="flip" /></a></p>`}
    </section><${Scheduled} session=${session} version=${queued} /></div></div>`;
}
