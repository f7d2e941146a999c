// session answers "what do I do next?" for one session, and has everything about it in tabs.
import { html, useRef, useState } from '../lib.js';
import { get } from '../api.js';
import { useEvents } from '../events.js';
import { useInterval, useLoad } from '../load.js';
import { Page } from '../shell.js';
import { isUnderWay, StateBadge } from '../ui/badge.js';
import { LinkButton } from '../ui/button.js';
import { CopyText } from '../ui/copy.js';
import { Empty, Loaded, Problem } from '../ui/note.js';
import { Tabs } from '../ui/tabs.js';
import { NextStep } from './session_link.js';
import { Messages } from './session_messages.js';
import { Send } from './session_send.js';
import { Webhooks } from './session_webhooks.js';
import { Keys } from './session_keys.js';
import { Events } from './session_events.js';
import { Settings } from './session_settings.js';

const tabs = [
  ['messages', 'Messages', 'message-square', Messages],
  ['send', 'Send', 'send', Send],
  ['webhooks', 'Webhooks', 'webhook', Webhooks],
  ['keys', 'Keys', 'key-round', Keys],
  ['events', 'Events', 'activity', Events],
  ['settings', 'Settings', 'settings', Settings],
];

export function Session({ id, tab = 'messages' }) {
  const state = useLoad((signal) => get('/sessions/' + id, {}, { signal }), [id]);
  const [isGone, setGone] = useState(false);
  const timer = useRef(0);
  useEvents((e) => {
    if (e.sessionId !== id || !e.type.startsWith('session.')) return;
    clearTimeout(timer.current);
    if (e.type === 'session.deleted') setGone(true);
    else timer.current = setTimeout(state.reload, 50);
  }, state.reload);
  const isMoving = Boolean(state.data && isUnderWay(state.data.status));
  useInterval(state.reload, 2000, isMoving && !isGone);
  useInterval(state.reload, 30_000, !isMoving && !isGone);
  if (isGone || state.error?.status === 404) {
    return html`<${Page} title="No such session" back=${['/', 'Sessions']}><${Empty} icon="smartphone" title="This session is gone"
      action=${html`<${LinkButton} href="/" variant="primary">Go to your sessions<//>`}>It was deleted, or the address is wrong.<//><//>`;
  }
  const session = state.data;
  const chosen = tabs.find(([name]) => name === tab) || tabs[0];
  const title = session ? { text: session.name, view: html`${session.name} <${StateBadge} status=${session.status} />` } : { text: 'Session', view: html`<span class="muted">…</span>` };
  return html`<${Page} title=${title} back=${['/', 'Sessions']} lead=${session && html`<${CopyText} text=${session.id} name="session id" />${session.description && html` ${session.description}`}`}>
    <${Loaded} state=${state}>${(s) => html`
      <${NextStep} session=${s} onChange=${state.reload} />
      <${Tabs} label="Session" list=${tabs} value=${chosen[0]} href=${(name) => `/sessions/${encodeURIComponent(id)}/${name}`} />
      <${chosen[3]} session=${s} onChange=${state.reload} key=${chosen[0]} />`}<//>
  <//>`;
}
