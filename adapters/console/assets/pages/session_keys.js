// session_keys has the API keys of a session. A key is shown once, when it is made.
import { html, useState } from '../lib.js';
import { get, post, del } from '../api.js';
import { useAction, useLoad } from '../load.js';
import { Button } from '../ui/button.js';
import { Badge } from '../ui/badge.js';
import { Secret } from '../ui/copy.js';
import { Confirm, Dialog } from '../ui/dialog.js';
import { Select } from '../ui/field.js';
import { Empty, Loaded, Note, Problem } from '../ui/note.js';
import { Ago } from '../ui/time.js';
import { Table } from '../ui/table.js';

const graces = [['', 'At once'], ['10m', 'After 10 minutes'], ['1h', 'After an hour'], ['24h', 'After a day']];

// Rotate makes a new key and says when the present one ends.
function Rotate({ session, onClose }) {
  const [grace, setGrace] = useState('1h');
  const [key, setKey] = useState('');
  const act = useAction(async () => setKey((await post(`/sessions/${session.id}/api-key/rotate`, undefined, { query: { grace } })).apiKey));
  if (key) {
    return html`<${Dialog} title="The new key" onClose=${onClose}><div class="stack"><p><strong>It is shown this once.</strong> Keep it where you keep passwords.</p>
      <${Secret} text=${key} name="api-key" /><footer><${Button} variant="primary" onClick=${onClose}>Done<//></footer></div><//>`;
  }
  return html`<${Dialog} title="New API key" onClose=${onClose}><form class="stack" onSubmit=${(e) => { e.preventDefault(); act.run(); }}>
    <p>Programs that send through <strong>${session.name}</strong> need the new key. Let the present one work until they have it.</p>
    <${Select} label="The present key ends" options=${graces} value=${grace} onInput=${setGrace} /><${Problem} error=${act.error} />
    <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="primary" icon="key-round" isBusy=${act.isBusy}>Make the key<//></footer></form><//>`;
}

export function Keys({ session }) {
  const state = useLoad(async (signal) => (await get('/users/api-keys', {}, { signal })).filter((k) => k.session.id === session.id), [session.id]);
  const [open, setOpen] = useState(null);
  const close = () => {
    setOpen(null);
    state.reload();
  };
  const columns = [
    ['Key', (k) => html`<code>${k.prefix}…</code>`],
    ['State', (k) => (k.isActive ? html`<${Badge} tone="green" icon="circle-check">${k.expiresAt ? html`Ends <${Ago} at=${k.expiresAt} />` : 'Works'}<//>` : html`<${Badge} icon="circle-x">Ended<//>`)],
    ['Last used', (k) => html`<${Ago} at=${k.lastUsed} />`],
    ['Made', (k) => html`<${Ago} at=${k.createdAt} />`],
    ['', (k) => k.isActive && html`<${Button} isSmall icon="ban" onClick=${() => setOpen(k)}>Revoke<//>`],
  ];
  return html`<section class="stack" aria-label="API keys"><div class="section-head"><div class="grow"><h2>API keys</h2><p class="muted">A key sends through this session, and can do nothing else.</p></div>
      <${Button} variant="primary" icon="key-round" onClick=${() => setOpen('rotate')}>New key<//></div>
    <${Loaded} state=${state}>${(list) => (list.length ? html`<div class="panel"><${Table} caption="API keys" columns=${columns} rows=${list} rowKey=${(k) => k.id} /></div>`
      : html`<${Empty} icon="key-round" title="No key" action=${html`<${Button} variant="primary" onClick=${() => setOpen('rotate')}>Make a key<//>`}>Programs need a key to send through this session.<//>`)}<//>
    <${Note}><p>Send with it from a terminal:</p><pre class="code-block">curl ${location.origin}/api/v1/sendText -H "Authorization: Bearer wg_…" \\
  -H "Content-Type: application/json" -d '{"to":"6281234567890","message":"Hello"}'</pre><//>
    ${open === 'rotate' && html`<${Rotate} session=${session} onClose=${close} />`}
    ${open?.id && html`<${Confirm} title=${`Revoke the key ${open.prefix}…?`} action="Revoke" icon="ban" onConfirm=${() => del('/users/api-keys/' + open.id)} onClose=${close}>
      <p>Programs that use it can no longer send through <strong>${session.name}</strong>. It cannot be brought back.</p><//>`}
  </section>`;
}
