// router keeps the address and the page in step.
import { createStore } from './state.js';

const here = () => ({ path: location.pathname.replace(/\/+$/, '') || '/', query: new URLSearchParams(location.search), hash: location.hash });

export const place = createStore(here());

// navigate goes to a path of the console. With replace, the present page leaves the history.
export function navigate(path, { replace = false } = {}) {
  if (path === location.pathname + location.search + location.hash) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', path);
  place.set(here());
}

// setQuery changes parameters of the address without an entry in the history. An empty value removes one.
export function setQuery(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  navigate(location.pathname + (text ? '?' + text : ''), { replace: true });
}

const roots = ['', 'sign-in', 'register', 'forgot-password', 'reset-password', 'sessions', 'usage', 'account', 'admin'];

export function startRouter() {
  addEventListener('popstate', () => place.set(here()));
  document.addEventListener('click', (e) => {
    const link = e.target.closest?.('a[href]');
    if (!link || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    if (link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (!roots.includes(link.pathname.split('/')[1])) return;
    if (link.hash && link.pathname === location.pathname) return;
    e.preventDefault();
    navigate(link.pathname + link.search);
  });
}

// match returns the variables of a pattern such as /sessions/:id/:tab?, or null.
export function match(pattern, path) {
  const wanted = pattern.split('/').slice(1);
  const given = path.split('/').slice(1);
  if (given.length > wanted.length) return null;
  const found = {};
  for (const [i, name] of wanted.entries()) {
    const part = given[i];
    if (name.startsWith(':')) {
      if (!part && !name.endsWith('?')) return null;
      if (part) {
        try {
          found[name.replace(/^:|\?$/g, '')] = decodeURIComponent(part);
        } catch {
          return null;
        }
      }
    } else if (name !== part) return null;
  }
  return found;
}
