// session_events is the log of a session, live.
import { html, useState } from '../lib.js';
import { get } from '../api.js';
import { useEvents } from '../events.js';
import { useLoad } from '../load.js';
import { Button } from '../ui/button.js';
import { Badge } from '../ui/badge.js';
import { Choice } from '../ui/field.js';
import { Empty, Loaded } from '../ui/note.js';
import { fullTime, phone, shortTime } from '../ui/time.js';

const looks = {
  'session.connected': ['green', 'circle-check'], 'session.disconnected': ['grey', 'circle-stop'], 'session.error': ['red', 'octagon-x'], 'session.qr_updated': ['amber', 'qr-code'],
  'session.migrated': ['accent', 'arrow-left-right'], 'session.failed_over': ['accent', 'arrow-left-right'], 'session.placed': ['grey', 'server'], 'session.needs_scan': ['amber', 'qr-code'],
  'message.failed': ['red', 'circle-alert'], 'message.received': ['accent', 'download'], 'message.sent': ['grey', 'check'], 'message.delivered': ['grey', 'check-check'], 'message.read': ['accent', 'check-check'],
};

// about says in a few words what an event tells.
function about({ type, data }) {
  if (type.startsWith('message.')) return [data.type, data.direction === 'INBOUND' ? 'from' : 'to', phone(data.direction === 'INBOUND' ? data.from : data.to), data.errorMessage && '· ' + data.errorMessage].filter(Boolean).join(' ');
  if (data.fromWorkerId) return `from ${data.fromWorkerId} to ${data.workerId || 'no worker'}${data.reason ? ' · ' + data.reason : ''}`;
  return [data.reason || data.lastError, data.workerId && 'on ' + data.workerId].filter(Boolean).join(' · ');
}

// readNewest reads the log to its end and keeps the newest events. The log is read oldest first.
async function readNewest(id, signal) {
  let kept = [];
  let after;
  for (let page = 0; page < 50; page++) {
    const part = await get(`/sessions/${id}/events`, { after, limit: 100 }, { signal });
    kept = [...kept, ...part.events].slice(-500);
    if (part.events.length < 100) break;
    after = part.nextAfter;
  }
  return kept.reverse();
}

export function Events({ session }) {
  const [kind, setKind] = useState('');
  const [most, setMost] = useState(50);
  const state = useLoad((signal) => readNewest(session.id, signal), [session.id]);
  useEvents((e) => {
    if (e.sessionId === session.id && e.position) state.setData((list) => (list.some((old) => old.position === e.position) ? list : [e, ...list].slice(0, 500)));
  }, state.reload);
  return html`<section class="stack" aria-label="Events"><div class="toolbar"><${Choice} label="Show" class="pills" value=${kind} onInput=${setKind}
      options=${[['', 'Everything'], ['session.', 'Session'], ['message.', 'Messages']]} /></div>
    <${Loaded} state=${state}>${(list) => {
      const shown = list.filter((e) => e.type.startsWith(kind));
      if (!shown.length) return html`<${Empty} icon="activity" title="Nothing happened yet">What happens to the session and to its messages is recorded here, and sent to its webhooks.<//>`;
      return html`<ol class="log panel" aria-live="off">${shown.slice(0, most).map((e) => {
        const [tone, icon] = looks[e.type] || ['grey', 'activity'];
        return html`<li key=${e.position} data-event=${e.type}><time dateTime=${e.timestamp} title=${fullTime(e.timestamp)}>${shortTime(e.timestamp)}</time>
          <${Badge} tone=${tone} icon=${icon}>${e.type}<//><span class="grow clip">${about(e)}</span>
          <details><summary>Data</summary><pre class="code-block">${JSON.stringify(e, null, 2)}</pre></details></li>`;
      })}</ol>${shown.length > most && html`<div class="center"><${Button} onClick=${() => setMost(most + 100)}>Show more<//></div>`}`;
    }}<//></section>`;
}
