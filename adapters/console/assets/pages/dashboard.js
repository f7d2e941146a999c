// dashboard answers "are my sessions up?".
import { html, useEffect, useMemo, useRef, useState } from '../lib.js';
import { get } from '../api.js';
import { useEvents } from '../events.js';
import { useInterval, useLoad } from '../load.js';
import { place, setQuery } from '../router.js';
import { useStore } from '../state.js';
import { Page } from '../shell.js';
import { Icon } from '../ui/icon.js';
import { Button } from '../ui/button.js';
import { Choice, Search, Select } from '../ui/field.js';
import { Empty, Loaded, Note } from '../ui/note.js';
import { isUnderWay, stateOf, StateBadge } from '../ui/badge.js';
import { Ago, count, phone, plural } from '../ui/time.js';
import { CreateSession } from './create_session.js';

const pageSize = 100;
const most = 1000; // sessions that are loaded; the search of the server finds the others

// sameAs returns the objects of an earlier list for sessions that have not changed, so that their cards
// are not drawn again.
function sameAs(before, list) {
  const known = new Map(before.map((s) => [s.id, s]));
  const isSame = (a, b) => a && ['updatedAt', 'lastSeenAt', 'status', 'workerId', 'phoneNumber', 'name'].every((k) => a[k] === b[k]);
  return list.map((s) => (isSame(known.get(s.id), s) ? known.get(s.id) : s));
}

// readSessions reads the newest sessions, page by page.
async function readSessions(search, signal) {
  const all = [];
  for (let page = 1; ; page++) {
    const part = await get('/sessions', { page, limit: pageSize, search }, { signal });
    all.push(...part.sessions);
    if (!part.pagination.hasNext || all.length >= most) return { list: all, total: part.pagination.total };
  }
}

const trouble = { ERROR: 0, QR_REQUIRED: 1, RECONNECTING: 2, INIT: 3, DISCONNECTED: 4, CONNECTED: 5 };
const collator = new Intl.Collator(undefined, { numeric: true });
const byName = (a, b) => collator.compare(a.name, b.name);
const byTime = (a, b) => (a < b ? 1 : a > b ? -1 : 0); // latest first
const orders = {
  newest: ['Newest first', (a, b) => byTime(a.createdAt, b.createdAt)],
  name: ['Name', byName],
  trouble: ['Trouble first', (a, b) => trouble[a.status] - trouble[b.status] || byName(a, b)],
  seen: ['Last seen', (a, b) => byTime(a.lastSeenAt || '', b.lastSeenAt || '')],
};

const groups = {
  all: ['All', () => true],
  up: ['Connected', (s) => s.status === 'CONNECTED'],
  way: ['On the way', (s) => isUnderWay(s.status)],
  down: ['Stopped', (s) => s.status === 'DISCONNECTED'],
  bad: ['Failed', (s) => s.status === 'ERROR'],
};

// Card is one session. A change of its state is marked for two seconds.
export function Card({ session: s }) {
  const before = useRef(s.status);
  const [isChanged, setChanged] = useState(false);
  useEffect(() => {
    if (before.current === s.status) return undefined;
    before.current = s.status;
    setChanged(true);
    const timer = setTimeout(() => setChanged(false), 2000);
    return () => clearTimeout(timer);
  }, [s.status]);
  return html`<li class=${'card session-card' + (isChanged ? ' changed' : '')} data-session=${s.id}>
    <div class=${'stripe ' + stateOf(s.status).tone}></div>
    <h3><a href=${'/sessions/' + s.id}>${s.name}</a></h3>
    <${StateBadge} status=${s.status} />
    <dl>
      <div><dt><${Icon} name="smartphone" size="16" />Phone</dt><dd>${s.phoneNumber ? html`<bdi>${phone(s.phoneNumber)}</bdi>` : html`<span class="muted">not linked</span>`}</dd></div>
      <div><dt><${Icon} name="server" size="16" />Worker</dt><dd class="clip">${s.workerId || html`<span class="muted">none</span>`}</dd></div>
      <div><dt><${Icon} name="activity" size="16" />Last seen</dt><dd><${Ago} at=${s.lastSeenAt} /></dd></div>
    </dl></li>`;
}

const step = 30; // cards that are drawn at once
const cards = new WeakMap(); // by session, what was drawn; the same again is skipped

function cardOf(s) {
  if (!cards.has(s)) cards.set(s, html`<${Card} key=${s.id} session=${s} />`);
  return cards.get(s);
}

// Grid draws the first cards, and more as the end comes into view.
function Grid({ list }) {
  const [shown, setShown] = useState(step);
  const end = useRef(null);
  useEffect(() => {
    if (shown >= list.length) return undefined;
    const watcher = new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) setShown((n) => n + step); }, { rootMargin: '600px' });
    watcher.observe(end.current);
    return () => watcher.disconnect();
  }, [shown, list.length]);
  return html`<ul class="grid">${list.slice(0, shown).map(cardOf)}</ul><div ref=${end}></div>`;
}

function Limit({ tier }) {
  if (!tier) return html`<div class="limit"></div>`;
  const { sessions } = tier.usage;
  const limit = tier.limits.maxSessions;
  const share = limit ? Math.min(1, sessions / limit) : 0;
  return html`<div class="limit"><div class="limit-text"><span><strong>${count(sessions)}</strong> of ${count(limit)} sessions</span>
      <span class="muted">tier ${tier.tier}</span></div>
    <div class="meter" role="meter" aria-label="Sessions used" aria-valuemin="0" aria-valuemax=${limit} aria-valuenow=${sessions}>
      <div class=${share >= 1 ? 'full' : ''} style=${{ inlineSize: share * 100 + '%' }}></div></div></div>`;
}

function Summary({ list, total }) {
  const up = list.filter((s) => s.status === 'CONNECTED').length;
  const bad = list.filter((s) => s.status === 'ERROR').length;
  if (total === 0) return 'Link a phone and let your programs send.';
  if (up === total) return total === 1 ? 'Your session is connected.' : 'All of your sessions are connected.';
  return `${count(up)} of ${plural(total, 'session')} connected${bad ? `, ${count(bad)} failed` : ''}.`;
}

export function Dashboard() {
  const { query } = useStore(place);
  const search = query.get('search') || '';
  const group = groups[query.get('show')] ? query.get('show') : 'all';
  const order = orders[query.get('sort')] ? query.get('sort') : 'newest';
  const [isCreating, setCreating] = useState(false);
  const [isPartial, setPartial] = useState(false); // there are more sessions than are loaded
  const asked = isPartial ? search : '';
  const last = useRef([]);
  const sessions = useLoad(async (signal) => {
    const read = await readSessions(asked, signal);
    last.current = sameAs(last.current, read.list);
    return { ...read, list: last.current };
  }, [asked]);
  const tier = useLoad((signal) => get('/users/tier', {}, { signal }), []);
  const data = sessions.data;
  useEffect(() => { if (data && !asked) setPartial(data.total > data.list.length); }, [data]);
  const timer = useRef(0);
  const reloadSoon = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(sessions.reload, 150);
  };
  useEvents((e) => { if (e.type.startsWith('session.')) reloadSoon(); }, sessions.reload);
  const isMoving = Boolean(data?.list.some((s) => isUnderWay(s.status)));
  useInterval(sessions.reload, 4000, isMoving);
  useInterval(sessions.reload, 30_000, !isMoving);
  const shown = useMemo(() => {
    const words = search.trim().toLowerCase();
    const has = (s) => !words || s.name.toLowerCase().includes(words) || (s.phoneNumber || '').includes(words.replace(/[\s+]/g, '') || '-') || s.id.includes(words);
    return (data?.list || []).filter((s) => groups[group][1](s) && has(s)).sort(orders[order][1]);
  }, [data, search, group, order]);
  const close = () => {
    setCreating(false);
    sessions.reload();
    tier.reload();
  };
  const create = html`<${Button} variant="primary" icon="plus" onClick=${() => setCreating(true)}>New session<//>`;
  return html`<${Page} title="Sessions" lead=${data && html`<${Summary} list=${data.list} total=${data.total} />`} actions=${create}>
    <${Limit} tier=${tier.data} />
    <${Loaded} state=${sessions} rows=${4}>${({ list, total }) => (total === 0 && !asked
      ? html`<${Empty} icon="smartphone" title="No session yet" action=${html`<${Button} variant="primary" icon="plus" onClick=${() => setCreating(true)}>Create your first session<//>`}>
          A session is one WhatsApp account that stays online here. Create one, scan a code with the phone, and your programs can send with its API key.<//>`
      : html`<div class="toolbar">
          <${Search} label="Search name or phone" value=${search} onInput=${(v) => setQuery({ search: v })} />
          <${Choice} label="Show" class="pills" value=${group} onInput=${(v) => setQuery({ show: v === 'all' ? '' : v })}
            options=${Object.entries(groups).map(([v, [text, test]]) => [v, `${text} ${count(list.filter(test).length)}`])} />
          <${Select} label="Sort" class="inline" value=${order} onInput=${(v) => setQuery({ sort: v === 'newest' ? '' : v })}
            options=${Object.entries(orders).map(([v, [text]]) => [v, text])} /></div>
        ${total > list.length && html`<${Note}><p>The newest ${count(list.length)} of ${count(total)} are listed; search finds the others.</p><//>`}
        ${shown.length ? html`<${Grid} list=${shown} />`
          : html`<${Empty} icon="search" title="Nothing matches" action=${html`<${Button} onClick=${() => setQuery({ search: '', show: '' })}>Show all<//>`}>
            No session has this name, phone or state.<//>`}`)}<//>
    ${isCreating && html`<${CreateSession} onClose=${close} />`}
  <//>`;
}
