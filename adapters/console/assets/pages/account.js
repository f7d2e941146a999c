// account has the profile, the password, the sign-ins and how the console looks.
import { html, useState } from '../lib.js';
import { get, post, put, del, leave, setUser } from '../api.js';
import { useAction, useLoad } from '../load.js';
import { account, preferences, setPreference, useStore } from '../state.js';
import { Page } from '../shell.js';
import { Badge } from '../ui/badge.js';
import { Button } from '../ui/button.js';
import { Dialog } from '../ui/dialog.js';
import { Choice, Field, Password } from '../ui/field.js';
import { FormProblem, Loaded, Problem, fieldProblem } from '../ui/note.js';
import { Table } from '../ui/table.js';
import { Ago } from '../ui/time.js';
import { toast } from '../ui/toast.js';

// useForm keeps the values of fields and the action that submits them.
function useForm(values, submit) {
  const [form, setForm] = useState(values);
  const act = useAction(() => submit(form, setForm));
  const bind = (name) => ({ name, value: form[name], onInput: (v) => setForm((f) => ({ ...f, [name]: v })), error: fieldProblem(act.error, name) });
  return { form, act, bind, onSubmit: (e) => { e.preventDefault(); act.run(); } };
}

function Profile({ user }) {
  const { form, act, bind, onSubmit } = useForm({ name: user.name, email: user.email, currentPassword: '' }, async (f, setForm) => {
    const change = {};
    if (f.name !== user.name) change.name = f.name;
    if (f.email !== user.email) Object.assign(change, { email: f.email, currentPassword: f.currentPassword });
    setUser(await put('/users/profile', change));
    setForm({ ...f, currentPassword: '' });
    toast('Profile saved');
  });
  const isNewEmail = form.email.trim().toLowerCase() !== user.email;
  return html`<form class="panel stack" aria-label="Profile" onSubmit=${onSubmit} novalidate><h2>Profile</h2>
    <${Field} label="Name" autocomplete="name" autocapitalize="words" ...${bind('name')} /><${Field} label="Email" type="email" autocomplete="email" ...${bind('email')} />
    ${isNewEmail && html`<${Password} label="Current password" autocomplete="current-password" hint="A new email ends your other sign-ins, and the old address is told." ...${bind('currentPassword')} />`}
    <${FormProblem} error=${act.error} fields=${['name', 'email', 'currentPassword']} />
    <div><${Button} type="submit" variant="primary" isBusy=${act.isBusy} disabled=${!isNewEmail && form.name === user.name}>Save<//></div></form>`;
}

function NewPassword() {
  const { act, bind, onSubmit } = useForm({ currentPassword: '', newPassword: '' }, async (f) => {
    await post('/auth/change-password', f);
    toast('Password changed. Sign in with the new one.', 'info');
    leave();
  });
  return html`<form class="panel stack" aria-label="Password" onSubmit=${onSubmit} novalidate><h2>Password</h2>
    <${Password} label="Current password" autocomplete="current-password" ...${bind('currentPassword')} /><${Password} label="New password" autocomplete="new-password" hint="Every sign-in ends, this one too." ...${bind('newPassword')} />
    <${FormProblem} error=${act.error} fields=${['currentPassword', 'newPassword']} /><div><${Button} type="submit" variant="primary" icon="lock" isBusy=${act.isBusy}>Change the password<//></div></form>`;
}

// device names a browser by its user agent.
export function device(agent) {
  if (!agent) return 'Unknown program';
  const browser = [['Edg/', 'Edge'], ['OPR/', 'Opera'], ['Firefox/', 'Firefox'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']].find(([mark]) => agent.includes(mark));
  const system = [['Android', 'Android'], ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Windows', 'Windows'], ['Mac OS', 'macOS'], ['Linux', 'Linux']].find(([mark]) => agent.includes(mark));
  return browser ? browser[1] + (system ? ' on ' + system[1] : '') : agent.split(' ')[0];
}

function End({ signIn, onDone }) {
  const act = useAction(async () => {
    await del('/users/sign-ins/' + signIn.id);
    await onDone();
  });
  return html`<${Button} isSmall icon="log-out" isBusy=${act.isBusy} onClick=${act.run}>End<//><${Problem} error=${act.error} />`;
}

function SignIns() {
  const state = useLoad((signal) => get('/users/sign-ins', {}, { signal }), []);
  const columns = [
    ['Where', (s) => html`<span title=${s.userAgent}>${device(s.userAgent)}</span> ${s.current && html`<${Badge} tone="accent" icon="circle-check">This one<//>`}`],
    ['Address', (s) => html`<code>${s.address || 'unknown'}</code>`], ['Last used', (s) => html`<${Ago} at=${s.lastUsedAt} />`], ['Since', (s) => html`<${Ago} at=${s.createdAt} />`],
    ['', (s) => !s.current && html`<${End} signIn=${s} onDone=${state.reload} />`],
  ];
  return html`<section class="panel stack wide-panel" aria-label="Sign-ins"><div><h2>Sign-ins</h2><p class="muted">Where you are signed in. End what you do not know, then change the password.</p></div>
    <${Loaded} state=${state}>${(list) => html`<${Table} caption="Sign-ins" columns=${columns} rows=${list} rowKey=${(s) => s.id} />`}<//></section>`;
}

function Appearance() {
  const { theme, direction } = useStore(preferences);
  return html`<section class="panel stack" aria-label="Appearance"><h2>Appearance</h2>
    <${Choice} label="Theme" class="pills" value=${theme} onInput=${(v) => setPreference('theme', v)} options=${[['system', 'As the system', 'monitor'], ['light', 'Light', 'sun'], ['dark', 'Dark', 'moon']]} />
    <${Choice} label="Direction" class="pills" value=${direction} onInput=${(v) => setPreference('direction', v)} options=${[['ltr', 'Left to right'], ['rtl', 'Right to left']]} /></section>`;
}

function Deactivate({ user, onClose }) {
  const { form, act, bind, onSubmit } = useForm({ password: '' }, async (f) => {
    await post('/auth/deactivate', f);
    leave();
  });
  return html`<${Dialog} title=${`Close the account ${user.email}?`} onClose=${onClose}><form class="stack" onSubmit=${onSubmit} novalidate>
    <p>All of your sessions are disconnected and all of your API keys stop working. An administrator can open the account again.</p>
    <${Password} label="Password" autocomplete="current-password" autofocus ...${bind('password')} /><${FormProblem} error=${act.error} fields=${['password']} />
    <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="danger" icon="ban" isBusy=${act.isBusy} disabled=${!form.password}>Close the account<//></footer></form><//>`;
}

export function Account() {
  const { user } = useStore(account);
  const [isClosing, setClosing] = useState(false);
  if (!user) return null;
  return html`<${Page} title="Account" lead=${user.email}>
    <div class="columns even"><${Profile} user=${user} /><${NewPassword} /></div>
    <${SignIns} />
    <div class="columns even"><${Appearance} />
      <section class="panel danger-zone stack" aria-label="Danger zone"><h2>Danger zone</h2><div class="danger-row"><div class="grow"><h3>Close the account</h3><p class="muted">Disconnects every session and ends every key.</p></div>
        <${Button} variant="danger" icon="ban" onClick=${() => setClosing(true)}>Close<//></div></section></div>
    ${isClosing && html`<${Deactivate} user=${user} onClose=${() => setClosing(false)} />`}
  <//>`;
}
