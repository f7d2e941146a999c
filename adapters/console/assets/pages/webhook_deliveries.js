// webhook_deliveries is the log of what was sent to a webhook, with payloads and redelivery.
import { html, useState } from '../lib.js';
import { get, post } from '../api.js';
import { useEvents } from '../events.js';
import { useAction, useInterval, useLoad } from '../load.js';
import { Button } from '../ui/button.js';
import { Badge } from '../ui/badge.js';
import { Dialog } from '../ui/dialog.js';
import { Choice } from '../ui/field.js';
import { Loaded, Loading, Problem } from '../ui/note.js';
import { Table } from '../ui/table.js';
import { Ago } from '../ui/time.js';

const looks = {
  PENDING: ['amber', 'clock', 'Waiting'], DELIVERED: ['green', 'circle-check', 'Delivered'], DEAD: ['red', 'octagon-x', 'Given up'], FAILED: ['red', 'circle-alert', 'Failed'], CANCELLED: ['grey', 'ban', 'Cancelled'],
};

// payloadOf reads the event of a delivery from the log of the session.
async function payloadOf(session, delivery, signal) {
  const { events } = await get(`/sessions/${session.id}/events`, { after: delivery.position - 1, limit: 1 }, { signal });
  return events.find((e) => e.position === delivery.position) || null;
}

function Payload({ session, delivery, onClose }) {
  const state = useLoad((signal) => payloadOf(session, delivery, signal), [delivery.id]);
  return html`<${Dialog} title=${delivery.event} onClose=${onClose} isWide>
    ${state.error ? html`<${Problem} error=${state.error} />` : state.isLoading ? html`<${Loading} />`
      : state.data ? html`<pre class="code-block tall" tabindex="0" data-payload>${JSON.stringify(state.data, null, 2)}</pre>` : html`<p class="muted">The event is no longer kept.</p>`}<//>`;
}

function Redeliver({ path, delivery, onDone }) {
  const act = useAction(async () => {
    await post(`${path}/deliveries/${delivery.id}/redeliver`);
    await onDone();
  });
  return html`<${Button} isSmall icon="rotate-ccw" isBusy=${act.isBusy} onClick=${act.run}>Send again<//><${Problem} error=${act.error} />`;
}

export function Deliveries({ session, path, onChange }) {
  const [status, setStatus] = useState('');
  const [open, setOpen] = useState(null);
  const state = useLoad((signal) => get(path + '/deliveries', { status, limit: 20 }, { signal }), [path, status]);
  const more = useAction(async () => {
    const next = await get(path + '/deliveries', { status, limit: 20, cursor: state.data.nextCursor });
    state.setData((d) => ({ deliveries: [...d.deliveries, ...next.deliveries], nextCursor: next.nextCursor }));
  });
  const reload = async () => {
    await Promise.all([state.reload(), onChange()]);
  };
  const isOpenEnded = Boolean(state.data?.deliveries.some((d) => d.status === 'PENDING'));
  useInterval(reload, isOpenEnded ? 1500 : 5000);
  useEvents((e) => { if (e.sessionId === session.id && e.position) setTimeout(state.reload, 300); });
  const columns = [
    ['Event', (d) => html`<button type="button" class="as-link" onClick=${() => setOpen(d)}><code>${d.event}</code></button>`],
    ['State', (d) => {
      const [tone, icon, word] = looks[d.status] || ['grey', 'circle-dashed', d.status];
      return html`<${Badge} tone=${tone} icon=${icon} data-delivery=${d.status}>${word}<//>`;
    }],
    ['Tries', (d) => html`${d.attempts}<span class="narrow"> ${d.attempts === 1 ? 'try' : 'tries'}</span>`],
    ['Answer', (d) => (d.error ? html`<span class="problem-text">${d.error}</span>` : d.responseCode ?? html`<span class="muted">none yet</span>`)],
    ['When', (d) => (d.nextRetry && d.status === 'PENDING' ? html`next try <${Ago} at=${d.nextRetry} />` : html`<${Ago} at=${d.deliveredAt || d.createdAt} />`)],
    ['', (d) => d.status !== 'PENDING' && html`<${Redeliver} path=${path} delivery=${d} onDone=${reload} />`],
  ];
  return html`<div class="stack small-gap"><div class="section-head"><h4 class="grow">Deliveries</h4>
      <${Choice} label="Show deliveries" class="pills hidden-legend" value=${status} onInput=${setStatus} options=${[['', 'All'], ['PENDING', 'Waiting'], ['DELIVERED', 'Delivered'], ['DEAD', 'Given up']]} /></div>
    <${Loaded} state=${state} rows=${2}>${(d) => (d.deliveries.length ? html`<${Table} isBrief caption="Deliveries" columns=${columns} rows=${d.deliveries} rowKey=${(x) => x.id} />
        ${d.nextCursor && html`<div class="center"><${Button} isSmall isBusy=${more.isBusy} onClick=${more.run}>Older deliveries<//></div>`}<${Problem} error=${more.error} />`
      : html`<p class="muted">${status ? 'None in this state.' : 'Nothing was sent yet. Send a ping to try the receiver.'}</p>`)}<//>
    ${open && html`<${Payload} session=${session} delivery=${open} onClose=${() => setOpen(null)} />`}</div>`;
}
