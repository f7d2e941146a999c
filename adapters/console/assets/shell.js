// shell draws what is around every page: the ways to go, how fresh the page is, and who is signed in.
import { html, useEffect, useRef, useState } from './lib.js';
import { account, preferences, setPreference, useStore } from './state.js';
import { stream } from './events.js';
import { signOut } from './api.js';
import { place } from './router.js';
import { useAction, useTicker } from './load.js';
import { Icon } from './ui/icon.js';
import { Button } from './ui/button.js';
import { Logo } from './ui/logo.js';
import { Toasts } from './ui/toast.js';
import { lengthOf } from './ui/time.js';
import { adminLinks } from './admin_links.js';

const links = [
  { href: '/', icon: 'layout-grid', text: 'Sessions', isOn: (p) => p === '/' || p.startsWith('/sessions') },
  { href: '/usage', icon: 'chart-column', text: 'Usage', isOn: (p) => p.startsWith('/usage') },
  { href: '/account', icon: 'user', text: 'Account', isOn: (p) => p.startsWith('/account') },
];

function Link({ href, icon, text, isOn, path }) {
  const on = isOn ? isOn(path) : path === href || path.startsWith(href + '/');
  return html`<a href=${href} class=${on ? 'on' : ''} aria-current=${on ? 'page' : undefined}><${Icon} name=${icon} /><span>${text}</span></a>`;
}

// Freshness says that the page is cut off, and how old it is. It waits a moment: most breaks are short.
function Freshness() {
  const { state, since } = useStore(stream);
  useTicker(1000, state === 'cut');
  const age = Date.now() - since;
  if (state !== 'cut' || age < 1500) return html`<div role="status"></div>`;
  return html`<div class="freshness" role="status"><${Icon} name="cloud-off" size="18" />
    <span>Not live. What you see is ${lengthOf(age)} old; connecting again by itself.</span></div>`;
}

const themes = { system: ['monitor', 'Theme: as the system'], light: ['sun', 'Theme: light'], dark: ['moon', 'Theme: dark'] };
const nextTheme = { system: 'light', light: 'dark', dark: 'system' };

export function ThemeSwitch() {
  const { theme } = useStore(preferences);
  const [icon, label] = themes[theme] || themes.system;
  return html`<${Button} variant="quiet" icon=${icon} label=${label + '. Change'} onClick=${() => setPreference('theme', nextTheme[theme] || 'light')} />`;
}

// More holds, on a phone, the links that the bar at the bottom has no room for.
function More({ list, path }) {
  const [isOpen, setOpen] = useState(false);
  const isOn = list.some((l) => path.startsWith(l.href));
  useEffect(() => setOpen(false), [path]);
  return html`<div class="more"><button type="button" class=${isOn ? 'on' : ''} aria-expanded=${String(isOpen)} onClick=${() => setOpen(!isOpen)}>
      <${Icon} name="menu" /><span>More</span></button>
    ${isOpen && html`<div class="more-list">${list.map((l) => html`<${Link} key=${l.href} ...${l} path=${path} />`)}</div>`}</div>`;
}

export function Shell({ children }) {
  const { user } = useStore(account);
  const { path } = useStore(place);
  const out = useAction(signOut);
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [path.split('/').slice(0, 3).join('/')]);
  const admin = user?.role === 'ADMINISTRATOR' ? adminLinks : [];
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the page</a>
    <header class="top"><a href="/" aria-label="Switchyard, sessions"><${Logo} isSmall /></a><div class="grow"></div>
      <${ThemeSwitch} /><${Button} variant="quiet" icon="log-out" label="Sign out" isBusy=${out.isBusy} onClick=${out.run} /></header>
    <nav class="rail" aria-label="Main">
      <a class="rail-logo" href="/" aria-label="Switchyard, sessions"><${Logo} /></a>
      <div class="rail-links">${links.map((l) => html`<${Link} key=${l.href} ...${l} path=${path} />`)}
        ${admin.length > 0 && html`<div class="rail-admin" role="group" aria-label="Administration"><p class="rail-title">Administration</p>
          ${admin.map((l) => html`<${Link} key=${l.href} ...${l} path=${path} />`)}</div>
          <${More} list=${admin} path=${path} />`}</div>
      <div class="rail-foot"><a href="/docs" target="_blank" rel="noopener"><${Icon} name="book-open" /><span>API</span></a>
        <div class="rail-user"><span class="grow clip" title=${user?.email}>${user?.name}</span><${ThemeSwitch} />
        <${Button} variant="quiet" icon="log-out" label="Sign out" isBusy=${out.isBusy} onClick=${out.run} /></div></div>
    </nav>
    <main class="main" id="main" ref=${main} tabindex="-1"><${Freshness} />${children}</main>
    <${Toasts} />
  </div>`;
}

// Page is the head of a page: its title, and what can be done.
export function Page({ title, lead, actions, back, children }) {
  const text = typeof title === 'string' ? title : title.text;
  useEffect(() => { document.title = text + ' · Switchyard'; }, [text]);
  return html`<div class="page"><header class="page-head"><div class="grow">
      ${back && html`<a class="back" href=${back[0]}><${Icon} name="arrow-left" size="16" class="flip" />${back[1]}</a>`}
      <h1>${typeof title === 'string' ? title : title.view}</h1>${lead && html`<p class="muted">${lead}</p>`}</div>
    ${actions && html`<div class="actions">${actions}</div>`}</header>${children}</div>`;
}
