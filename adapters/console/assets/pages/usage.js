// usage answers "how much do I send, and how much may I?".
import { html } from '../lib.js';
import { get } from '../api.js';
import { useInterval, useLoad } from '../load.js';
import { place, setQuery } from '../router.js';
import { useStore } from '../state.js';
import { Page } from '../shell.js';
import { Bars } from '../ui/chart.js';
import { Choice, Select } from '../ui/field.js';
import { Empty, Loaded } from '../ui/note.js';
import { Table } from '../ui/table.js';
import { clockTime, count, shortDayOf } from '../ui/time.js';
import { kindOf } from './session_messages.js';

const periods = [['24h', '24 hours'], ['7d', '7 days'], ['30d', '30 days']];
const series = [['Sent', 'accent'], ['Received', 'grey'], ['Failed', 'red']];

function Meter({ name, used, limit }) {
  const share = limit ? Math.min(1, used / limit) : 0;
  return html`<div class="panel stat"><p class="muted">${name}</p><p class="figure">${count(used)}<span class="muted"> of ${count(limit)}</span></p>
    <div class="meter" role="meter" aria-label=${name} aria-valuemin="0" aria-valuemax=${limit} aria-valuenow=${used}><div class=${share >= 1 ? 'full' : ''} style=${{ inlineSize: share * 100 + '%' }}></div></div></div>`;
}

// valuesOf splits a count so that failed messages are not counted twice.
const valuesOf = (c) => [Math.max(0, c.total - c.received - c.failed), c.received, c.failed];

const columns = (head, name) => [[head, name], ['Sent', (r) => count(r.sent)], ['Received', (r) => count(r.received)], ['Failed', (r) => count(r.failed)], ['Total', (r) => html`<strong>${count(r.total)}</strong>`]];

export function Usage() {
  const { query } = useStore(place);
  const period = periods.some(([p]) => p === query.get('period')) ? query.get('period') : '24h';
  const sessionId = query.get('session') || '';
  const tier = useLoad((signal) => get('/users/tier', {}, { signal }), []);
  const sessions = useLoad(async (signal) => (await get('/sessions', { limit: 100 }, { signal })).sessions, []);
  const usage = useLoad((signal) => get('/users/usage', { period, sessionId }, { signal }), [period, sessionId]);
  useInterval(() => { usage.reload(); tier.reload(); }, 30_000);
  const names = Object.fromEntries((sessions.data || []).map((s) => [s.id, s.name]));
  return html`<${Page} title="Usage" lead="What your sessions sent and received, and what your tier allows.">
    <${Loaded} state=${tier} rows=${1}>${(t) => html`<div class="stats"><${Meter} name="Sessions" used=${t.usage.sessions} limit=${t.limits.maxSessions} />
      <${Meter} name="Messages this hour" used=${t.usage.messagesThisHour} limit=${t.limits.messagesPerHour} /><${Meter} name="API calls this hour" used=${t.usage.apiCallsThisHour} limit=${t.limits.apiCallsPerHour} /></div>`}<//>
    <div class="toolbar"><${Choice} label="Period" class="pills" options=${periods} value=${period} onInput=${(v) => setQuery({ period: v === '24h' ? '' : v })} />
      <${Select} label="Session" class="inline" value=${sessionId} onInput=${(v) => setQuery({ session: v })} options=${[['', 'Every session'], ...(sessions.data || []).map((s) => [s.id, s.name])]} /></div>
    <${Loaded} state=${usage}>${(u) => html`
      <div class="panel"><${Bars} title="Messages" series=${series} points=${u.series.map((p) => ({ label: u.interval === 'hour' ? clockTime(p.at) : shortDayOf(p.at), values: valuesOf(p) }))} /></div>
      ${u.totals.total === 0 ? html`<${Empty} icon="chart-column" title="No message in this time">Messages are counted as they are sent and received.<//>`
        : html`<div class="columns even"><section class="panel"><h2>By type</h2><${Table} isNumeric caption="By type" columns=${columns('Type', (r) => kindOf(r.type)[1])} rowKey=${(r) => r.type}
            rows=${Object.entries(u.byType).map(([type, c]) => ({ type, ...c })).sort((a, b) => b.total - a.total)} /></section>
          ${!sessionId && html`<section class="panel"><h2>By session</h2><${Table} isNumeric caption="By session" columns=${columns('Session', (r) => html`<a href=${'/sessions/' + r.sessionId}>${names[r.sessionId] || r.sessionId}</a>`)} rowKey=${(r) => r.sessionId} rows=${u.bySession} /></section>`}</div>`}`}<//>
  <//>`;
}
