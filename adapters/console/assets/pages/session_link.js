// session_link is the top of a session's page: its state, and what to do next.
import { html, useEffect, useRef, useState } from '../lib.js';
import { get, post, serverNow } from '../api.js';
import { useEvents } from '../events.js';
import { useAction, useInterval, useLoad } from '../load.js';
import { Icon } from '../ui/icon.js';
import { Button } from '../ui/button.js';
import { Field } from '../ui/field.js';
import { Problem, fieldProblem } from '../ui/note.js';
import { QRCode, Ring } from '../ui/qr.js';
import { stateOf } from '../ui/badge.js';
import { Ago, phone } from '../ui/time.js';

const steps = ['Open WhatsApp on the phone', html`Tap <strong>Settings</strong>, or the menu <strong>⋮</strong>`,
  html`Tap <strong>Linked devices</strong>, then <strong>Link a device</strong>`, 'Point the phone at this code'];
const codeSteps = [...steps.slice(0, 3), html`Tap <strong>Link with phone number instead</strong> and type this code`];

// useCode keeps the code that is to be scanned or typed. Live events renew it; a question to the server
// every few seconds does where an event was missed.
function useCode(session) {
  const isWanted = session.status === 'QR_REQUIRED' || session.status === 'INIT';
  const state = useLoad(async (signal) => (isWanted ? get(`/sessions/${session.id}/qr`, {}, { signal }) : null), [session.id, isWanted]);
  useEvents((e) => {
    if (e.sessionId === session.id && e.data?.qr) state.setData((old) => ({ ...old, ...e.data.qr }));
  });
  const isLive = state.data && (state.data.qrCode || state.data.pairingCode) && !(Date.parse(state.data.expiresAt) <= serverNow());
  useInterval(state.reload, isLive ? 10_000 : 1500, isWanted);
  const expiry = state.data?.expiresAt;
  useEffect(() => {
    if (!isWanted || !expiry) return undefined;
    const timer = setTimeout(state.reload, Math.max(500, Date.parse(expiry) - serverNow() + 300));
    return () => clearTimeout(timer);
  }, [expiry, isWanted]);
  return isWanted ? state.data : null;
}

function Steps({ list }) {
  return html`<ol class="steps">${list.map((text, i) => html`<li key=${i}><span>${text}</span></li>`)}</ol>`;
}

// Pairing asks for the number of the phone, for phones that cannot scan.
function Pairing({ session, onDone, onClose }) {
  const [number, setNumber] = useState(session.phoneNumber || '');
  const act = useAction(async () => {
    if (session.status !== 'DISCONNECTED' && session.status !== 'ERROR') await post(`/sessions/${session.id}/disconnect`);
    await post(`/sessions/${session.id}/connect`, { pairing: { phoneNumber: number } }, { query: { wait: '10s' } });
    onDone();
    onClose();
  });
  return html`<form class="stack pairing" onSubmit=${(e) => { e.preventDefault(); act.run(); }}>
    <${Field} label="Phone number" hint="In international format, such as 6281234567890." type="tel" autocomplete="tel" inputmode="tel" required autofocus
      name="phoneNumber" value=${number} onInput=${setNumber} error=${fieldProblem(act.error, 'pairing.phoneNumber')} />
    ${!fieldProblem(act.error, 'pairing.phoneNumber') && html`<${Problem} error=${act.error} />`}
    <div class="actions"><${Button} onClick=${onClose}>Back<//><${Button} type="submit" variant="primary" icon="key-round" isBusy=${act.isBusy}>Get a code<//></div>
  </form>`;
}

function Scan({ session, code, onPair }) {
  if (code?.pairingCode) {
    return html`<div class="scan"><div class="pairing-code"><p class="muted small">Type this code into the phone</p>
        <p class="code" data-pairing-code>${code.pairingCode}</p><${Ring} expiresAt=${code.expiresAt} of=${code.pairingCode} /></div><${Steps} list=${codeSteps} /></div>`;
  }
  return html`<div class="scan">
    ${code?.qrCode ? html`<${QRCode} qr=${code} />`
      : html`<div class="qr"><div class="qr-picture waiting"><${Icon} name="loader-circle" size="32" class="spin" /><span role="status">The code is on its way…</span></div></div>`}
    <div class="stack"><${Steps} list=${steps} />
      <p class="muted">The page goes on by itself once the phone has scanned.</p>
      <div><${Button} isSmall variant="quiet" icon="smartphone" onClick=${onPair}>No camera? Use a code to type<//></div></div></div>`;
}

// texts are the title and the meaning of each state.
function texts(s) {
  switch (s.status) {
    case 'CONNECTED': return [html`Connected as <bdi>${phone(s.phoneNumber) || s.displayName || 'a linked phone'}</bdi>`, 'Messages flow. There is nothing to do.'];
    case 'INIT': return ['Starting', 'A worker is starting the session; the code appears here in a moment.'];
    case 'QR_REQUIRED': return ['Scan to link', 'WhatsApp waits for the phone.'];
    case 'RECONNECTING': return ['Reconnecting', 'The connection broke. It is tried again by itself, if need be on another worker; there is nothing to scan.'];
    case 'ERROR': return ['Failed', s.lastError || 'The session could not go on. Connect it again.'];
    default: return s.phoneNumber ? ['Stopped', 'The phone stays linked: connecting again needs no scan.'] : ['Not linked yet', 'Connect, then scan a code with the phone that is to send.'];
  }
}

function Action({ run, name, isPrimary, icon, text }) {
  return html`<${Button} variant=${isPrimary ? 'primary' : 'secondary'} icon=${icon} isBusy=${run.isBusy && run.name === name} disabled=${run.isBusy}
    onClick=${() => run.start(name)}>${text}<//>`;
}

// NextStep is the panel with the state and what can be done about it.
export function NextStep({ session, onChange }) {
  const [isPairing, setPairing] = useState(false);
  const [name, setName] = useState('');
  const code = useCode(session);
  const act = useAction(async (what) => {
    await post(`/sessions/${session.id}/${what}`, what === 'connect' ? {} : undefined);
    await onChange();
  });
  const run = { ...act, name, start: (what) => { setName(what); act.run(what); } };
  const { status } = session;
  const before = useRef(status);
  useEffect(() => {
    if (before.current !== status) act.clear();
    before.current = status;
  }, [status]);
  const [title, meaning] = texts(session);
  const { tone, icon } = stateOf(status);
  const isDown = status === 'DISCONNECTED' || status === 'ERROR';
  const isScan = status === 'QR_REQUIRED' || (status === 'INIT' && !session.phoneNumber);
  return html`<section class=${'panel next ' + tone} aria-label="State" data-state=${status}>
    <div class="next-head"><span class=${'next-icon ' + tone}><${Icon} name=${icon} size="24" /></span>
      <div class="grow" role="status"><h2>${title}</h2><p>${meaning}</p>
        <p class="muted small">Since <${Ago} at=${session.updatedAt || session.createdAt} />${session.workerId && html` · on worker <bdi>${session.workerId}</bdi>${session.worker?.status === 'OFFLINE' ? ', which is offline' : ''}`}</p></div>
      <div class="actions">
        ${isDown && !isPairing && html`<${Action} run=${run} name="connect" isPrimary icon="plug" text="Connect" />`}
        ${isDown && !isPairing && !session.phoneNumber && html`<${Button} icon="key-round" onClick=${() => setPairing(true)}>Pair by number<//>`}
        ${!isDown && status !== 'INIT' && status !== 'QR_REQUIRED' && html`<${Action} run=${run} name="restart" icon="rotate-ccw" text="Restart" />`}
        ${!isDown && html`<${Action} run=${run} name="disconnect" icon="unplug" text=${isScan ? 'Cancel' : 'Disconnect'} />`}
      </div></div>
    <${Problem} error=${act.error} />
    ${isPairing ? html`<${Pairing} session=${session} onDone=${onChange} onClose=${() => setPairing(false)} />`
      : isScan && html`<${Scan} session=${session} code=${code} onPair=${() => setPairing(true)} />`}
  </section>`;
}
