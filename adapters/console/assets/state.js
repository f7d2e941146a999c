// state holds what pages share. A store is a value and those who want to hear of its changes.
import { useState, useEffect } from './lib.js';

export function createStore(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const fn of [...listeners]) fn(value);
    },
    subscribe(fn) {
      listeners.add(fn);
      return () => listeners.delete(fn);
    },
  };
}

// useStore returns the value of a store, and draws the component again when it changes.
export function useStore(store) {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    setValue(store.get());
    return store.subscribe(setValue);
  }, [store]);
  return value;
}

// account is who is signed in: {phase: 'starting' | 'out' | 'in' | 'unreachable', user, error}.
export const account = createStore({ phase: 'starting', user: null });

// preferences stay in this browser. Browsers that keep nothing have the defaults each time.
const defaults = { theme: 'system', direction: 'ltr' };
const key = 'switchyard.preferences';

function read() {
  try {
    return { ...defaults, ...JSON.parse(localStorage.getItem(key) || '{}') };
  } catch {
    return defaults;
  }
}

export const preferences = createStore(read());

export function setPreference(name, value) {
  const next = { ...preferences.get(), [name]: value };
  preferences.set(next);
  try {
    localStorage.setItem(key, JSON.stringify(next));
  } catch {
    // The choice holds until the page is left.
  }
}

// applyPreferences makes the document follow the preferences.
export function applyPreferences() {
  const apply = ({ theme, direction }) => {
    const root = document.documentElement;
    if (theme === 'system') delete root.dataset.theme;
    else root.dataset.theme = theme;
    root.dir = direction;
  };
  apply(preferences.get());
  preferences.subscribe(apply);
}

