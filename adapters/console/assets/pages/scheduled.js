// scheduled lists the messages that wait, until a time or until the session is connected.
import { html, useState } from '../lib.js';
import { del, get, put } from '../api.js';
import { useEvents } from '../events.js';
import { useAction, useInterval, useLoad } from '../load.js';
import { Button } from '../ui/button.js';
import { Confirm, Dialog } from '../ui/dialog.js';
import { Field } from '../ui/field.js';
import { FormProblem, Loaded, Problem, fieldProblem } from '../ui/note.js';
import { Ago, phone, shortTime } from '../ui/time.js';
import { kindOf } from './session_messages.js';
import { inputTime } from './send_schedule.js';

const textOf = (m) => (typeof m.content === 'string' ? m.content : m.caption || m.filename || kindOf(m.type)[1]);

// Change moves a message to another time.
function Change({ path, message: m, onClose }) {
  const [sendAt, setSendAt] = useState(inputTime(Date.parse(m.sendAt || m.createdAt)));
  const act = useAction(async () => {
    await put(`${path}/${m.id}`, { sendAt: new Date(sendAt).toISOString() });
    onClose();
  });
  return html`<${Dialog} title="Another time" onClose=${onClose}><form class="stack" onSubmit=${(e) => { e.preventDefault(); act.run(); }} novalidate>
    <${Field} label="Send at" type="datetime-local" value=${sendAt} onInput=${setSendAt} hint="In your time zone, at most 30 days ahead." error=${fieldProblem(act.error, 'sendAt')} />
    <${FormProblem} error=${act.error} fields=${['sendAt']} />
    <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="primary" icon="calendar-clock" isBusy=${act.isBusy}>Save<//></footer></form><//>`;
}

// Scheduled shows what waits. It is read again when version changes.
export function Scheduled({ session, version }) {
  const path = `/sessions/${session.id}/scheduled`;
  const state = useLoad((signal) => get(path, { limit: 50 }, { signal }), [session.id, version]);
  const [open, setOpen] = useState(null);
  const more = useAction(async () => {
    const next = await get(path, { limit: 50, cursor: state.data.nextCursor });
    state.setData((d) => ({ messages: [...d.messages, ...next.messages], nextCursor: next.nextCursor }));
  });
  useEvents((e) => { if (e.sessionId === session.id && /^message\.(sent|failed)$/.test(e.type)) state.reload(); }, state.reload);
  useInterval(state.reload, 15_000);
  const close = () => {
    setOpen(null);
    state.reload();
  };
  return html`<section class="panel stack" aria-label="Waiting"><h2>Waiting</h2>
    <${Loaded} state=${state} rows=${1}>${({ messages, nextCursor }) => (messages.length === 0 ? html`<p class="muted">Nothing waits. Under Options, a message can be sent later, or as soon as the session is connected.</p>`
      : html`<ul class="rows">${messages.map((m) => html`<li key=${m.id} data-scheduled=${m.id}><div class="grow"><p class="clip" dir="auto">${textOf(m)}</p>
          <p class="small muted">to <bdi>${phone(m.to)}</bdi> · ${m.sendAt ? html`at <time dateTime=${m.sendAt}>${shortTime(m.sendAt)}</time>` : 'once connected'} · gives up <${Ago} at=${m.deadline} /></p></div>
          <div class="actions"><${Button} isSmall variant="quiet" icon="pencil" label="Another time" onClick=${() => setOpen({ change: m })} />
          <${Button} isSmall variant="quiet" icon="x" label="Cancel the message" onClick=${() => setOpen({ cancel: m })} /></div></li>`)}</ul>
        ${nextCursor && html`<div><${Button} isSmall isBusy=${more.isBusy} onClick=${more.run}>Later ones<//></div>`}<${Problem} error=${more.error} />`)}<//>
    ${open?.change && html`<${Change} path=${path} message=${open.change} onClose=${close} />`}
    ${open?.cancel && html`<${Confirm} title="Cancel the message?" action="Do not send it" icon="x" onClose=${close} onConfirm=${() => del(`${path}/${open.cancel.id}`)}>
      <p>“${textOf(open.cancel)}” to <bdi>${phone(open.cancel.to)}</bdi> is removed from the queue.</p><//>`}
  </section>`;
}
