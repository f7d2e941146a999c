// session_messages is the history of a session as a conversation, live.
import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';
import { get, blob } from '../api.js';
import { useEvents } from '../events.js';
import { useAction, useDebounced, useLoad } from '../load.js';
import { Icon } from '../ui/icon.js';
import { Button, LinkButton } from '../ui/button.js';
import { Search, Select } from '../ui/field.js';
import { Empty, Loaded, Problem } from '../ui/note.js';
import { receiptOf } from '../ui/badge.js';
import { bytes, clockTime, dayOf, fullTime, phone } from '../ui/time.js';

const kinds = {
  text: ['message-square', 'Text'], image: ['image', 'Picture'], document: ['file-text', 'Document'], audio: ['mic', 'Voice'], video: ['video', 'Video'],
  sticker: ['sticker', 'Sticker'], location: ['map-pin', 'Location'], contact: ['contact', 'Contact'], link: ['link', 'Link'], poll: ['vote', 'Poll'],
};
export const kindOf = (type) => kinds[type] || ['message-square', type.replace(/[_-]/g, ' ')];

// peer is the other side of a message.
export const peer = (m) => (m.direction === 'INBOUND' ? m.from : m.to) || '';

// Media shows a picture or plays a sound once the user asks; the worker has to send it first.
function Media({ session, message: m }) {
  const [url, setUrl] = useState('');
  const act = useAction(async () => setUrl(URL.createObjectURL(await blob(`/sessions/${session.id}/messages/${encodeURIComponent(m.id)}/media`))));
  useEffect(() => () => { if (url) URL.revokeObjectURL(url); }, [url]);
  const size = m.media?.size ?? m.media?.bytes;
  if (url && m.type === 'image') return html`<img class="media" src=${url} alt=${m.caption || 'Picture'} />`;
  if (url && m.type === 'audio') return html`<audio class="media" src=${url} controls></audio>`;
  if (url && m.type === 'video') return html`<video class="media" src=${url} controls></video>`;
  if (url) return html`<a class="button small" href=${url} download=${m.filename || m.id}>Save ${m.filename || 'the file'}</a>`;
  return html`<${Button} isSmall icon="download" isBusy=${act.isBusy} onClick=${act.run}>Load ${kindOf(m.type)[1].toLowerCase()}${size ? ', ' + bytes(size) : ''}<//>
    <${Problem} error=${act.error} />`;
}

// body draws the content of a message by its type.
function Body({ session, message: m }) {
  const c = m.content;
  if (c && typeof c === 'object') {
    if (m.type === 'location') return html`<p><${Icon} name="map-pin" size="16" /> ${c.name || 'Location'} <span class="muted">${c.latitude}, ${c.longitude}</span></p>${c.address && html`<p class="muted">${c.address}</p>`}`;
    if (m.type === 'contact') return html`<p><${Icon} name="contact" size="16" /> ${c.name} <bdi class="muted">${c.phone}</bdi></p>`;
    if (m.type === 'link') return html`<p><a href=${/^https?:/.test(c.url) ? c.url : undefined} target="_blank" rel="noopener noreferrer">${c.title || c.url}</a></p>${c.description && html`<p class="muted">${c.description}</p>`}`;
    if (m.type === 'poll') return html`<p><${Icon} name="vote" size="16" /> ${c.question}</p><ul class="poll">${(c.options || []).map((o) => html`<li key=${o}>${o}</li>`)}</ul>`;
    return html`<pre class="code-block">${JSON.stringify(c, null, 2)}</pre>`;
  }
  const [icon, name] = kindOf(m.type);
  return html`${m.type !== 'text' && html`<p class="small muted"><${Icon} name=${icon} size="14" /> ${name}${m.filename ? ': ' + m.filename : ''}</p>`}
    ${m.direction === 'INBOUND' && m.media && html`<${Media} session=${session} message=${m} />`}
    ${m.direction !== 'INBOUND' && m.mediaUrl && html`<p class="clip small"><a href=${/^https?:/.test(m.mediaUrl) ? m.mediaUrl : undefined} target="_blank" rel="noopener noreferrer">${m.mediaUrl}</a></p>`}
    ${(c || m.caption) && html`<p class="text" dir="auto">${c || m.caption}</p>`}`;
}

function Bubble({ session, message: m, onPeer, showPeer }) {
  const isIn = m.direction === 'INBOUND';
  const r = receiptOf(isIn ? 'RECEIVED' : m.status);
  return html`<li class=${'bubble ' + (isIn ? 'in' : 'out')} data-message=${m.id} data-status=${m.status}>
    ${showPeer && html`<button type="button" class="peer" onClick=${() => onPeer(peer(m))} title="Only this conversation">${isIn ? 'From' : 'To'} <bdi>${phone(peer(m))}</bdi></button>`}
    <${Body} session=${session} message=${m} />
    ${m.errorMessage && html`<p class="problem"><${Icon} name="circle-alert" size="16" />${m.errorMessage}</p>`}
    <p class="bubble-foot"><time dateTime=${m.createdAt} title=${fullTime(m.createdAt)}>${clockTime(m.createdAt)}</time>
      ${!isIn && html`<span class=${'receipt ' + r.tone}><${Icon} name=${r.icon} size="14" />${r.word}</span>`}</p></li>`;
}

// merge puts a message where it belongs, newest first. A message that is there already is replaced.
function merge(list, m) {
  const i = list.findIndex((old) => old.id === m.id);
  if (i >= 0) return list.map((old, at) => (at === i ? { ...old, ...m } : old));
  return [m, ...list].sort((a, b) => b.createdAt.localeCompare(a.createdAt));
}

const isWith = (m, to) => !to || peer(m).replace(/@s\.whatsapp\.net$/, '') === to;
const matches = (m, f) => (!f.direction || m.direction === f.direction) && (!f.type || m.type === f.type);

export function Messages({ session }) {
  const [filter, setFilter] = useState({ search: '', direction: '', type: '', to: '' });
  const search = useDebounced(filter.search, 250);
  const asked = { search, direction: filter.direction, type: filter.type, limit: 50 };
  const path = `/sessions/${session.id}/messages`;
  const state = useLoad((signal) => get(path, asked, { signal }), [session.id, search, filter.direction, filter.type]);
  const older = useAction(async () => {
    const more = await get(path, { ...asked, cursor: state.data.nextCursor });
    state.setData((d) => ({ messages: [...d.messages, ...more.messages], nextCursor: more.nextCursor }));
  });
  useEvents((e) => {
    if (e.sessionId !== session.id || !e.type.startsWith('message.') || !e.data?.id) return;
    state.setData((d) => {
      const isKnown = d.messages.some((m) => m.id === e.data.id);
      return isKnown || (!search && matches(e.data, filter)) ? { ...d, messages: merge(d.messages, e.data) } : d;
    });
  }, state.reload);
  const set = (name) => (v) => setFilter((f) => ({ ...f, [name]: v }));
  const isFiltered = Boolean(search || filter.direction || filter.type || filter.to);
  return html`<section class="stack" aria-label="Messages">
    <div class="toolbar"><${Search} label="Search messages" value=${filter.search} onInput=${set('search')} />
      <${Select} label="Direction" class="inline" value=${filter.direction} onInput=${set('direction')} options=${[['', 'In and out'], ['INBOUND', 'Received'], ['OUTBOUND', 'Sent']]} />
      <${Select} label="Type" class="inline" value=${filter.type} onInput=${set('type')} options=${[['', 'Every type'], ...Object.entries(kinds).map(([v, [, text]]) => [v, text])]} />
      ${filter.to && html`<${Button} isSmall icon="x" onClick=${() => set('to')('')}>Only <bdi>${phone(filter.to)}</bdi><//>`}</div>
    <${Loaded} state=${state}>${(d) => (d.messages.length === 0
      ? (isFiltered ? html`<${Empty} icon="search" title="No message matches" action=${html`<${Button} onClick=${() => setFilter({ search: '', direction: '', type: '', to: '' })}>Show all<//>`}>Other words or another type may find it.<//>`
        : html`<${Empty} icon="message-square" title="No message yet" action=${html`<${LinkButton} href=${`/sessions/${session.id}/send`} variant="primary" icon="send">Send the first one<//>`}>
            What this session sends and receives appears here as it happens.<//>`)
      : html`<${Timeline} session=${session} data=${{ ...d, messages: d.messages.filter((m) => isWith(m, filter.to)) }} older=${older} showPeer=${!filter.to} onPeer=${(p) => set('to')(p.replace(/@s\.whatsapp\.net$/, ''))} />`)}<//>
  </section>`;
}

// Timeline has the newest message at the end. It stays at the end while the reader is there, and stays
// where the reader is when older messages come.
function Timeline({ session, data, older, showPeer, onPeer }) {
  const box = useRef(null);
  const was = useRef({ height: 0, isAtEnd: true, oldest: '' });
  const list = [...data.messages].reverse();
  useLayoutEffect(() => {
    const el = box.current;
    const isOlder = was.current.oldest && was.current.oldest !== list[0]?.id && was.current.count < list.length;
    if (was.current.isAtEnd) el.scrollTop = el.scrollHeight;
    else if (isOlder) el.scrollTop += el.scrollHeight - was.current.height;
    was.current.height = el.scrollHeight;
    was.current.oldest = list[0]?.id;
    was.current.count = list.length;
  });
  const note = () => { was.current.isAtEnd = box.current.scrollHeight - box.current.scrollTop - box.current.clientHeight < 40; };
  let last = '';
  return html`<div class="timeline panel" ref=${box} onScroll=${note} tabindex="0" role="region" aria-label="Conversation">
    ${data.nextCursor && html`<div class="center"><${Button} isSmall icon="clock" isBusy=${older.isBusy} onClick=${older.run}>Older messages<//></div>`}
    <${Problem} error=${older.error} />
    <ol aria-live="polite">${list.map((m) => {
      const day = dayOf(m.createdAt);
      const isNew = day !== last;
      last = day;
      return html`${isNew && html`<li class="day" key=${'day ' + day}>${day}</li>`}<${Bubble} key=${m.id} session=${session} message=${m} showPeer=${showPeer} onPeer=${onPeer} />`;
    })}</ol></div>`;
}
