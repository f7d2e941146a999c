// app starts the console: it signs in by the cookie and draws the page of the address.
import { html, render, useEffect, useState } from './lib.js';
import { account, applyPreferences, useStore } from './state.js';
import { start } from './api.js';
import { openStream, closeStream } from './events.js';
import { place, match, navigate, startRouter } from './router.js';
import { Shell, Page } from './shell.js';
import { SignIn, Register, ForgotPassword, ResetPassword } from './pages/sign_in.js';
import { Dashboard } from './pages/dashboard.js';
import { Session } from './pages/session.js';
import { Usage } from './pages/usage.js';
import { Account } from './pages/account.js';
import { adminPages } from './admin_links.js';
import { Empty, Loading, Problem } from './ui/note.js';
import { Logo } from './ui/logo.js';
import { LinkButton } from './ui/button.js';

// outside are the pages that need no sign-in.
const outside = [['/sign-in', SignIn], ['/register', Register], ['/forgot-password', ForgotPassword], ['/reset-password', ResetPassword]];

const inside = [['/', Dashboard], ['/sessions/:id/:tab?', Session], ['/usage', Usage], ['/account', Account]];

function find(table, path) {
  for (const [pattern, page] of table) {
    const params = match(pattern, path);
    if (params) return { page, params, pattern };
  }
  return null;
}

function Missing() {
  return html`<${Page} title="No such page"><${Empty} icon="map-pin" title="There is nothing at this address"
    action=${html`<${LinkButton} href="/" variant="primary">Go to your sessions<//>`}>The link may be old, or mistyped.<//><//>`;
}

// Lazy draws a page whose module comes when it is first needed.
function Lazy({ load, params }) {
  const [state, setState] = useState({});
  const get = () => load().then((m) => setState({ page: m.default }), (error) => setState({ error }));
  useEffect(() => { get(); }, [load]);
  if (state.page) return html`<${state.page} ...${params} />`;
  if (state.error) return html`<${Page} title="Not loaded"><${Problem} error=${{ message: 'The page did not load. Check the network.' }} onRetry=${get} /><//>`;
  return html`<${Loading} />`;
}

function Inside({ path, user }) {
  const found = find(inside, path);
  if (found) return html`<${found.page} ...${found.params} key=${found.pattern + (found.params.id || '')} />`;
  const admin = user.role === 'ADMINISTRATOR' && find(adminPages, path);
  if (admin) return html`<${Lazy} load=${admin.page} params=${admin.params} key=${path} />`;
  return html`<${Missing} />`;
}

function Waiting({ children }) {
  return html`<main class="gate"><div class="gate-card center"><${Logo} />${children}</div></main>`;
}

function App() {
  const { phase, user, error } = useStore(account);
  const { path } = useStore(place);
  const gate = find(outside, path);
  const isIn = phase === 'in';
  useEffect(() => {
    if (isIn) openStream();
    else closeStream();
  }, [isIn, user?.id]);
  useEffect(() => {
    if (phase === 'out' && !gate) navigate('/sign-in' + (path === '/' ? '' : '?next=' + encodeURIComponent(path + location.search)), { replace: true });
    if (isIn && gate && gate.pattern !== '/reset-password') navigate('/', { replace: true });
  }, [phase, path]);
  if (gate && !(isIn && gate.pattern !== '/reset-password') && phase !== 'starting') return html`<${gate.page} key=${gate.pattern} />`;
  if (phase === 'unreachable') return html`<${Waiting}><${Problem} error=${error} onRetry=${start} /><//>`;
  if (!isIn) return html`<${Waiting}><p class="muted" role="status">Opening…</p><//>`;
  return html`<${Shell}><${Inside} path=${path} user=${user} /><//>`;
}

applyPreferences();
startRouter();
render(html`<${App} />`, document.getElementById('app'));
start();
