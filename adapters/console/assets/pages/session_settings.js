// session_settings has what ends something: logging out and deleting. Each names its object and its cost.
import { html, useState } from '../lib.js';
import { post, del } from '../api.js';
import { navigate } from '../router.js';
import { Button } from '../ui/button.js';
import { Confirm } from '../ui/dialog.js';
import { CopyText } from '../ui/copy.js';
import { toast } from '../ui/toast.js';
import { Ago, phone } from '../ui/time.js';

export function Settings({ session, onChange }) {
  const [open, setOpen] = useState('');
  const close = () => setOpen('');
  const rows = [
    ['Id', html`<${CopyText} text=${session.id} name="session id" />`],
    ['Name', session.name],
    ['Description', session.description || html`<span class="muted">none</span>`],
    ['WhatsApp name', session.displayName || html`<span class="muted">not known</span>`],
    ['Phone', session.phoneNumber ? html`<bdi>${phone(session.phoneNumber)}</bdi>` : html`<span class="muted">not linked</span>`],
    ['Worker', session.workerId || html`<span class="muted">none</span>`],
    ['Generation', String(session.generation)],
    ['Created', html`<${Ago} at=${session.createdAt} />`],
  ];
  return html`<section class="stack" aria-label="Settings">
    <div class="panel"><h2>About</h2><dl class="facts">${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></div>
    <div class="panel danger-zone stack"><h2>Danger zone</h2>
      <div class="danger-row"><div class="grow"><h3>Log out</h3><p class="muted">Unlinks the phone. Connecting again needs a scan.</p></div>
        <${Button} icon="log-out" disabled=${!session.phoneNumber} onClick=${() => setOpen('logout')}>Log out<//></div>
      <div class="danger-row"><div class="grow"><h3>Delete</h3><p class="muted">Removes the session with its key, webhooks and history.</p></div>
        <${Button} variant="danger" icon="trash" onClick=${() => setOpen('delete')}>Delete<//></div></div>
    ${open === 'logout' && html`<${Confirm} title=${`Log out ${session.name}?`} action="Log out" icon="log-out" onClose=${close}
      onConfirm=${async () => { await post(`/sessions/${session.id}/logout`); toast(session.name + ' is logged out'); await onChange(); }}>
      <p>The phone <bdi>${phone(session.phoneNumber)}</bdi> is unlinked. To send again, it has to scan a new code.</p><//>`}
    ${open === 'delete' && html`<${Confirm} title=${`Delete ${session.name}?`} action="Delete for good" icon="trash" typed=${session.name} onClose=${close}
      onConfirm=${async () => { await del('/sessions/' + session.id); toast(session.name + ' is deleted'); navigate('/'); }}>
      <p>This removes its API key, its webhooks and its whole history, and unlinks the phone. It cannot be undone.</p><//>`}
  </section>`;
}
