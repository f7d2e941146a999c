// session_webhooks has the URLs that hear of a session's events, and what was delivered to each.
import { html, useState } from '../lib.js';
import { get, post, put, del } from '../api.js';
import { useAction, useLoad } from '../load.js';
import { Button } from '../ui/button.js';
import { Badge } from '../ui/badge.js';
import { Secret } from '../ui/copy.js';
import { Confirm, Dialog } from '../ui/dialog.js';
import { Check, Field, Select } from '../ui/field.js';
import { Empty, FormProblem, Loaded, Note, Problem, fieldProblem } from '../ui/note.js';
import { Ago } from '../ui/time.js';
import { Deliveries } from './webhook_deliveries.js';

const most = 5; // webhooks of a session
const types = ['message.received', 'message.sent', 'message.delivered', 'message.read', 'message.failed',
  'session.connected', 'session.disconnected', 'session.qr_updated', 'session.error', 'session.migrated'];

// Edit is the form of a webhook, new or old.
function Edit({ session, hook, onClose }) {
  const [form, setForm] = useState({ url: hook?.url || '', events: hook?.events || types, isActive: hook?.isActive ?? true });
  const [made, setMade] = useState(null);
  const act = useAction(async () => {
    if (hook) {
      await put(`/sessions/${session.id}/webhooks/${hook.id}`, form);
      onClose();
    } else setMade(await post(`/sessions/${session.id}/webhooks`, form));
  });
  if (made) return html`<${Shown} secret=${made.secret} title="The webhook is ready" onClose=${onClose} />`;
  const set = (values) => setForm((f) => ({ ...f, ...values }));
  const toggle = (type) => (isOn) => setForm((f) => ({ ...f, events: types.filter((t) => (t === type ? isOn : f.events.includes(t))) }));
  return html`<${Dialog} title=${hook ? 'Change the webhook' : 'New webhook'} onClose=${onClose}>
    <form class="stack" onSubmit=${(e) => { e.preventDefault(); act.run(); }} novalidate>
      <${Field} label="URL" name="url" type="url" placeholder="https://" hint="We POST each event there, signed." required autofocus value=${form.url} onInput=${(url) => set({ url })} error=${fieldProblem(act.error, 'url')} />
      <fieldset class="checks"><legend>Events</legend>${types.map((type) => html`<${Check} key=${type} label=${html`<code>${type}</code>`} checked=${form.events.includes(type)} onInput=${toggle(type)} />`)}
        ${fieldProblem(act.error, 'events') && html`<p class="problem">${fieldProblem(act.error, 'events')}</p>`}</fieldset>
      <${Check} label="Active" hint="An inactive webhook gets nothing." checked=${form.isActive} onInput=${(isActive) => set({ isActive })} />
      <${FormProblem} error=${act.error} fields=${['url', 'events']} />
      <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="primary" icon="webhook" isBusy=${act.isBusy}>${hook ? 'Save' : 'Create'}<//></footer>
    </form><//>`;
}

function Shown({ secret, title, onClose }) {
  return html`<${Dialog} title=${title} onClose=${onClose}><div class="stack"><p>The receiver checks the signature of each event with this secret. <strong>It is shown this once.</strong></p>
    <${Secret} text=${secret} name="webhook-secret" /><footer><${Button} variant="primary" onClick=${onClose}>Done<//></footer></div><//>`;
}

const graces = [['', 'At once'], ['1h', 'After an hour'], ['24h', 'After a day']];

function RotateSecret({ path, onClose }) {
  const [grace, setGrace] = useState('24h');
  const [secret, setSecret] = useState('');
  const act = useAction(async () => setSecret((await post(path + '/rotate-secret', undefined, { query: { grace } })).secret));
  if (secret) return html`<${Shown} secret=${secret} title="The new secret" onClose=${onClose} />`;
  return html`<${Dialog} title="New secret" onClose=${onClose}><form class="stack" onSubmit=${(e) => { e.preventDefault(); act.run(); }}>
    <p>Until the present secret ends, events carry the signatures of both.</p>
    <${Select} label="The present secret ends" options=${graces} value=${grace} onInput=${setGrace} /><${Problem} error=${act.error} />
    <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="primary" icon="key-round" isBusy=${act.isBusy}>Make the secret<//></footer></form><//>`;
}

// Ping shows what a receiver answers to a test event. The other buttons stand beside its own.
function Ping({ path, children }) {
  const act = useAction(() => post(path + '/test'));
  const [answer, setAnswer] = useState(null);
  const run = async () => {
    const got = await act.run();
    if (got) setAnswer(got);
  };
  return html`<div class="stack small-gap"><div class="actions start"><${Button} isSmall icon="radio" isBusy=${act.isBusy} onClick=${run}>Send a ping<//>${children}</div><${Problem} error=${act.error} />
    ${answer && html`<${Note} tone=${answer.delivered ? 'good' : 'bad'}><p data-ping=${answer.delivered ? 'delivered' : 'failed'}>${answer.delivered ? `Delivered: the receiver answered ${answer.responseCode}` : answer.error} in ${Math.round(answer.latencyMs)} ms.</p>
      ${answer.body && html`<pre class="code-block">${answer.body}</pre>`}<//>`}</div>`;
}

function Hook({ session, hook, onOpen, onChange }) {
  const path = `/sessions/${session.id}/webhooks/${hook.id}`;
  const enable = useAction(async () => {
    await put(path, { isActive: true });
    await onChange();
  });
  return html`<li class="panel stack" data-webhook=${hook.id}>
    <div class="section-head"><div class="grow"><h3 class="clip"><code>${hook.url}</code></h3>
        <p class="small muted">${hook.events.length === types.length ? 'Every event' : hook.events.join(', ')} · secret <code>${hook.secret}</code>${hook.formerSecretUntil && html` · former one until <${Ago} at=${hook.formerSecretUntil} />`}</p></div>
      ${hook.isActive ? (hook.failures > 0 ? html`<${Badge} tone="amber" icon="triangle-alert">${hook.failures} failed in a row<//>` : html`<${Badge} tone="green" icon="circle-check">Active<//>`) : html`<${Badge} tone="grey" icon="pause">Inactive<//>`}</div>
    ${hook.disabledReason && html`<${Note} tone="bad" action=${html`<${Button} isSmall icon="play" isBusy=${enable.isBusy} onClick=${enable.run}>Activate<//>`}><p>Switched off: ${hook.disabledReason}.</p><//>`}
    <${Problem} error=${enable.error} />
    <${Ping} path=${path}><${Button} isSmall icon="pencil" onClick=${() => onOpen({ edit: hook })}>Change<//>
      <${Button} isSmall icon="key-round" onClick=${() => onOpen({ rotate: path })}>New secret<//><${Button} isSmall icon="trash" onClick=${() => onOpen({ remove: hook })}>Delete<//><//>
    <${Deliveries} session=${session} path=${path} onChange=${onChange} /></li>`;
}

export function Webhooks({ session }) {
  const state = useLoad(async (signal) => (await get(`/sessions/${session.id}/webhooks`, {}, { signal })).webhooks, [session.id]);
  const [open, setOpen] = useState({});
  const close = () => {
    setOpen({});
    state.reload();
  };
  const create = html`<${Button} variant="primary" icon="plus" disabled=${state.data?.length >= most} onClick=${() => setOpen({ edit: 'new' })}>New webhook<//>`;
  return html`<section class="stack" aria-label="Webhooks"><div class="section-head"><div class="grow"><h2>Webhooks</h2><p class="muted">Events are sent to your own servers, in order, and again until they arrive. Up to ${most} for a session.</p></div>${state.data?.length > 0 && create}</div>
    <${Loaded} state=${state}>${(list) => (list.length ? html`<ul class="plain stack">${list.map((hook) => html`<${Hook} key=${hook.id} session=${session} hook=${hook} onOpen=${setOpen} onChange=${state.reload} />`)}</ul>`
      : html`<${Empty} icon="webhook" title="No webhook" action=${create}>Let your own server hear at once of received messages, receipts, and connections.<//>`)}<//>
    ${open.edit && html`<${Edit} session=${session} hook=${open.edit === 'new' ? null : open.edit} onClose=${close} />`}
    ${open.rotate && html`<${RotateSecret} path=${open.rotate} onClose=${close} />`}
    ${open.remove && html`<${Confirm} title="Delete the webhook?" action="Delete" icon="trash" onClose=${close} onConfirm=${() => del(`/sessions/${session.id}/webhooks/${open.remove.id}`)}>
      <p><code>${open.remove.url}</code> hears of nothing any more, and its log of deliveries goes.</p><//>`}
  </section>`;
}
